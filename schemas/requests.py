"""A request: one event that asks to tell one user something (docs/records.md#requests)."""

import hashlib
import re
from collections.abc import Set
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from schemas.decode import (
    PRINTABLE,
    AnyId,
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
from schemas.instants import Instant, instant_ms
from schemas.links import MAX_LINK_CHARS, SCHEMES, check_link, is_link, refusal
from schemas.values import MAX_INTEGER, MIN_INTEGER
from schemas.verifications import check_event_type
from schemas.words import Channel, Priority

#: Key, value and headers of a request's record.
MAX_RECORD_BYTES = 512 * 1024
#: As compact JSON.
MAX_DATA_BYTES = 64 * 1024
MAX_CONTENT_BYTES = 256 * 1024
MAX_AHEAD_MS = 366 * 24 * 3600 * 1000

#: How long after its record a request may be remembered.
MAX_REMEMBERED_MS = 90 * 24 * 3600 * 1000

Link = Annotated[str, Meta(max_length=MAX_LINK_CHARS)]
LocalTime = Annotated[str, Meta(max_length=5, pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)")]

_ICON_NAME = re.compile(r"[\w.-]{1,100}")

_NO_DATA = Raw(b"")


class Content(Struct, frozen=True, gc=False, omit_defaults=True):
    """Literal content: strings are shown as they are, never read as templates."""

    title: str
    body: str
    subject: str | None = None
    html: str | None = None
    url: Link | None = None
    image: Link | None = None


class Button(Struct, frozen=True, gc=False):
    """What an inbox shows below an item."""

    label: Annotated[str, Meta(min_length=1, max_length=100)]
    url: Link


class InboxOptions(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What concerns the inbox alone. ``icon``: a name that the app knows, or where it lies."""

    icon: Link | None = None
    actions: Annotated[list[Button], Meta(max_length=3)] | None = None
    #: When the item leaves the inbox.
    expires_at: Instant | None = None


class PushAction(Struct, frozen=True, gc=False):
    """A button of a push. ``id``: what the app is told when it is tapped."""

    id: Annotated[str, Meta(min_length=1, max_length=50, pattern=PRINTABLE)]
    label: Annotated[str, Meta(min_length=1, max_length=100)]


class PushOptions(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What concerns push alone, in the words of Apple and Google."""

    #: The number on the app's icon; 0 takes it off (iOS).
    badge: Annotated[int, Meta(ge=0, le=99_999)] | None = None
    #: A file of the app's, ``default``, or ``""`` for none.
    sound: Annotated[str, Meta(max_length=100, pattern=PRINTABLE)] | None = None
    #: Of the buttons that the app registered.
    category: Annotated[str, Meta(min_length=1, max_length=100, pattern=PRINTABLE)] | None = None
    actions: Annotated[list[PushAction], Meta(max_length=3)] | None = None
    #: Those of a thread are shown together.
    thread_id: Annotated[str, Meta(min_length=1, max_length=64, pattern=PRINTABLE)] | None = None
    interruption_level: Literal["passive", "active", "time-sensitive"] | None = None
    #: The app's extension may change it before it is shown (iOS).
    mutable_content: bool = False
    #: Nothing is shown: the app is woken.
    silent: bool = False
    android_channel_id: Annotated[str, Meta(min_length=1, max_length=100, pattern=PRINTABLE)] | None = None
    android_priority: Literal["normal", "high"] | None = None
    #: For the app, beside what is shown.
    data: (
        Annotated[
            dict[
                Annotated[str, Meta(min_length=1, max_length=100, pattern=PRINTABLE)],
                Annotated[str, Meta(max_length=1024)],
            ],
            Meta(max_length=20),
        ]
        | None
    ) = None


class Request(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One recipient's request as it lies on the event topics."""

    user_id: UserId
    event_type: EventType
    template_id: TemplateId | None = None
    content: Content | None = None
    #: The template's variables, kept as the JSON bytes that came.
    data: Raw = _NO_DATA
    channels: Annotated[list[Channel], Meta(max_length=16)] | None = None
    priority: Priority | None = None
    idempotency_key: IdempotencyKey | None = None
    notification_id: AnyId | None = None
    #: The id that the gateway answered with where the caller gave neither id nor key: it names the notification, but
    #: doesn't stand in for the key, so that the request is still compared by its content.
    assigned_id: AnyId | None = None
    source: Source | None = None
    send_at: Instant | None = None
    expires_at: Instant | None = None
    collapse_key: CollapseKey | None = None
    campaign_id: CampaignId | None = None
    locale: Locale | None = None
    created_at: Instant | None = None
    inbox: InboxOptions | None = None
    push: PushOptions | None = None
    #: ``09:00``: the first such moment of the user's wall clock at or after ``send_at``, else after the record.
    local_time: LocalTime | None = None
    #: Of a campaign's request: until when the router knows a repeated one, whatever the policy's ``dedup.keys`` says.
    remembered_until: Instant | None = None
    #: As they came (schemas/traces.py): what can't be read counts as absent, and refuses nothing.
    traceparent: Raw = _NO_DATA
    tracestate: Raw = _NO_DATA

    @property
    def data_json(self) -> bytes:
        """The data object's JSON, ``b""`` where there is none."""
        data = bytes(self.data)
        return b"" if data == b"null" else data


read_request: Reader[Request] = Reader(Request)
#: Of a row, where it was accepted before.
read_accepted: Reader[Request] = Reader(Request, own=True)


def check_request(request: Request, recorded_ms: int, schemes: Set[str] = SCHEMES) -> None:
    """What a struct can't say. ``recorded_ms`` is the record's timestamp; ``schemes`` are those that links may have.
    Raises Invalid with the field."""
    check_event_type(request.event_type)
    if request.template_id is not None and request.content is not None:
        raise Invalid("give template_id or content, not both", "content")
    _check_data(request.data_json)
    if request.content is not None:
        _check_content(request.content, schemes)
    if request.inbox is not None:
        _check_inbox(request.inbox, schemes)
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


def _check_content(content: Content, schemes: Set[str]) -> None:
    texts = (content.title, content.body, content.subject, content.html)
    may_be_large = sum(len(text) for text in texts if text) > MAX_CONTENT_BYTES // 8
    if may_be_large and len(msgspec.json.encode(content)) > MAX_CONTENT_BYTES:
        raise TooLarge("is larger than 256 KiB as compact JSON", "content")
    check_link(content.url, "content.url", schemes)
    check_link(content.image, "content.image", schemes)


def _check_inbox(inbox: InboxOptions, schemes: Set[str]) -> None:
    if inbox.icon is not None and not _ICON_NAME.fullmatch(inbox.icon):
        check_link(inbox.icon, "inbox.icon", schemes)
    for index, button in enumerate(inbox.actions or ()):
        if not is_link(button.url, schemes):
            raise Invalid(refusal(button.url), f"inbox.actions[{index}].url")
    if inbox.expires_at is not None:
        instant_ms(inbox.expires_at, "inbox.expires_at")


def decoded_data(data: bytes) -> Any:
    """What was kept as it came may still hide what is no JSON."""
    try:
        return _decode_canonical(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed("can't be decoded", "data") from error


def _check_times(request: Request, recorded_ms: int) -> None:
    if request.created_at is not None:
        instant_ms(request.created_at, "created_at")
    send_at = None if request.send_at is None else instant_ms(request.send_at, "send_at")
    if send_at is not None and send_at > recorded_ms + MAX_AHEAD_MS:
        raise Invalid("is more than 366 days ahead", "send_at")
    expires_at = None if request.expires_at is None else instant_ms(request.expires_at, "expires_at")
    if expires_at is not None and send_at is not None and expires_at <= send_at:
        raise Invalid("is not after send_at", "expires_at")
    if request.remembered_until is not None:
        until = instant_ms(request.remembered_until, "remembered_until")
        if until > recorded_ms + MAX_REMEMBERED_MS:
            raise Invalid("is more than 90 days ahead", "remembered_until")


def _number(text: str) -> int | float:
    """``1.0`` and ``1e0`` are ``1``, where an integer may be as large."""
    number = float(text)
    return int(number) if number.is_integer() and MIN_INTEGER <= number < MAX_INTEGER else number


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
