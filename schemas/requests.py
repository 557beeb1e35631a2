"""A request: one event that asks to tell one user something (contract, "Requests")."""

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from schemas.decode import (
    CampaignId,
    CollapseKey,
    EventType,
    IdempotencyKey,
    Invalid,
    Locale,
    Malformed,
    Reader,
    Source,
    TemplateId,
    TooLarge,
    UserId,
)
from schemas.instants import Instant, to_ms
from schemas.words import Channel, Priority

MAX_DATA_BYTES = 64 * 1024
MAX_AHEAD_MS = 366 * 24 * 3600 * 1000
MAX_DEPTH = 100

_NO_DATA = Raw(b"")


class Content(Struct, frozen=True, gc=False, omit_defaults=True):
    """Literal content: strings are shown as they are, never read as templates."""

    title: str
    body: str
    subject: str | None = None
    html: str | None = None
    url: str | None = None
    image: str | None = None


class Request(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One recipient's request as it lies on the event topics."""

    user_id: UserId
    event_type: EventType
    template_id: TemplateId | None = None
    content: Content | None = None
    #: The template's variables, kept as the JSON bytes that came.
    data: Raw = _NO_DATA
    channels: list[Channel] | None = None
    priority: Priority | None = None
    idempotency_key: IdempotencyKey | None = None
    notification_id: str | None = None
    #: The id that the gateway answered with where the caller gave neither id nor key: it names the notification, but
    #: doesn't stand in for the key, so that the request is still compared by its content.
    assigned_id: str | None = None
    source: Source | None = None
    send_at: Instant | None = None
    expires_at: Instant | None = None
    collapse_key: CollapseKey | None = None
    campaign_id: CampaignId | None = None
    locale: Locale | None = None
    created_at: Instant | None = None
    #: Set by a replay: which one, and how it is to be judged.
    replay_id: str | None = None

    @property
    def data_json(self) -> bytes:
        """The data object's JSON, ``b""`` where there is none."""
        data = bytes(self.data)
        return b"" if data == b"null" else data


read_request: Reader[Request] = Reader(Request)


def check_request(request: Request, recorded_ms: int) -> None:
    """What a struct can't say. ``recorded_ms`` is the record's timestamp. Raises Invalid with the field."""
    if request.template_id is not None and request.content is not None:
        raise Invalid("give template_id or content, not both", "content")
    _check_data(request.data_json)
    if request.notification_id is not None:
        check_uuid(request.notification_id, "notification_id")
    if request.assigned_id is not None:
        check_uuid(request.assigned_id, "assigned_id")
    _check_times(request, recorded_ms)


def check_uuid(text: str, field: str) -> None:
    """Refuses what isn't a UUID in its canonical form of 36 characters."""
    groups = text.split("-")
    hexadecimal = all(c in "0123456789abcdefABCDEF" for c in text.replace("-", ""))
    if [len(g) for g in groups] != [8, 4, 4, 4, 12] or not hexadecimal:
        raise Invalid("is not a UUID", field)


def _check_data(data: bytes) -> None:
    if not data:
        return
    if not data.startswith(b"{"):
        raise Malformed("is not an object", "data")
    if len(data) > MAX_DATA_BYTES and len(msgspec.json.encode(decoded_data(data))) > MAX_DATA_BYTES:
        raise TooLarge("is larger than 64 KiB as compact JSON", "data")
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        _check_depth(decoded_data(data))


def decoded_data(data: bytes) -> Any:
    """What was kept as it came may still hide what is no JSON."""
    try:
        return _decode_canonical(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed("can't be decoded", "data") from error


def _check_depth(value: Any) -> None:
    """What is accepted is decoded and rendered by others later, deep in their stacks."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [part for container in level for part in _parts(container)]
        if not level:
            return
    raise Malformed(f"is nested more than {MAX_DEPTH} deep", "data")


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _check_times(request: Request, recorded_ms: int) -> None:
    send_at = to_ms(request.send_at) if request.send_at else None
    if send_at is not None and send_at > recorded_ms + MAX_AHEAD_MS:
        raise Invalid("is more than 366 days ahead", "send_at")
    if request.expires_at is not None and send_at is not None and to_ms(request.expires_at) <= send_at:
        raise Invalid("is not after send_at", "expires_at")


def _number(text: str) -> int | float:
    """``1.0`` and ``1e0`` are ``1``."""
    number = float(text)
    return int(number) if number.is_integer() else number


_decode_canonical = msgspec.json.Decoder(float_hook=_number).decode


def canonical_json(value: Any) -> bytes:
    """The same bytes for the same value: keys sorted, no blanks (as RFC 8785 for what we compare)."""
    return msgspec.json.encode(value, order="sorted")


def content_hash(request: Request, template_id: str | None) -> bytes:
    """Eight bytes that tell two requests' contents apart: type, template, campaign, data and content.

    ``template_id``: the request's or the policy's. Raises Invalid for data that isn't JSON.
    """
    data = request.data_json
    parts = (
        request.event_type,
        template_id,
        request.campaign_id or None,
        decoded_data(data) if data else None,
        msgspec.to_builtins(request.content) if request.content else None,
    )
    return hashlib.blake2b(canonical_json(parts), digest_size=8).digest()
