"""Vonage's delivery receipts and inbound texts, of the Messages API and of the SMS API.

A request is signed by a JWT (HS256) with the body's hash; those of the SMS API may have a ``sig`` among their fields
instead, an HMAC over all others.
Sources: Vonage, "Webhooks: signed webhooks", "Signing messages", "Delivery receipts", "SMS API reference", "Messages
API reference" and "Messages API errors".
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import jwt

from app.webhooks.events import (
    FRESH_MS,
    JSON,
    NO_INTEREST,
    UNREADABLE,
    Event,
    InboundText,
    NotGenuine,
    Posted,
    Report,
    event_id,
    form,
    member,
    ms_of_instant,
    ms_of_seconds,
    read_object,
    send_id_in,
    text,
)
from app.webhooks.keywords import opt_out_of
from schemas.decode import Invalid, Malformed
from schemas.instants import to_ms
from schemas.receipts import ReceiptStatus

#: What verifying a token can raise: PyJWT checks less of what a claim holds than it then relies on.
_BAD_TOKEN = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
#: By the length of a ``sig`` in hex. MD5 and SHA-1 are not taken: choose SHA-256 or SHA-512 in Vonage's settings.
_DIGESTS = {64: hashlib.sha256, 128: hashlib.sha512}

#: Final states; submitted, accepted and buffered only lead to them, and ``unknown`` says nothing.
_STATUS: Mapping[str, ReceiptStatus] = {
    "delivered": "delivered",
    "read": "read",
    "failed": "failed",
    "rejected": "failed",
    "expired": "failed",
    "undeliverable": "failed",
}
#: Of the SMS API: absent for good, barred by the user, an illegal number.
_HARD_SMS = frozenset(("3", "4", "9"))
#: Of the Messages API: no such number, absent for good, an illegal number.
_HARD_MESSAGES = frozenset(("1170", "1190", "1240"))
_CODE_AT_END = re.compile(r"(?:^|#|/)([0-9]{4})$", re.ASCII)


def verified(posted: Posted, secret: str, api_key: str, now_ms: int) -> Mapping[str, Any]:
    """The request's fields. Raises NotGenuine; Invalid for an object that Vonage signed, and nobody can take."""
    authorization = posted.headers.get("Authorization")
    if authorization is not None:
        _verify_token(authorization, posted.body, secret, api_key, now_ms)
        return _fields(posted)
    try:
        fields = _fields(posted)
    except Invalid as invalid:
        raise NotGenuine("there is no signature, and the body can't be read") from invalid
    _verify_fields(fields, secret, now_ms)
    return fields


def events_of(said: Mapping[str, Any]) -> Sequence[Event]:
    """One event. ``said``: the request's fields."""
    said = dict(said)
    message_id = text(said, "message_uuid") or text(said, "messageId")
    status = text(said, "status")
    if message_id is None:
        return [UNREADABLE]
    if status is None:
        return [_inbound(message_id, said)]
    status = status.lower()
    if status not in _STATUS:
        return [NO_INTEREST]
    reported = _STATUS[status]
    hard = reported == "failed" and _is_hard(said)
    return [
        Report(
            event_id=event_id(message_id, status),
            send_id=send_id_in(text(said, "client_ref") or text(said, "client-ref")),
            status="bounced" if hard else reported,
            reason="hard" if hard else "soft" if reported == "failed" else None,
            at_ms=_at_ms(text(said, "timestamp") if "message_uuid" in said else text(said, "message-timestamp")),
            provider_message_id=message_id,
        )
    ]


def _fields(posted: Posted) -> dict[str, Any]:
    """Raises Invalid."""
    if posted.content_type == JSON:
        return read_object(posted.body)
    try:
        return dict(form(posted.body))
    except ValueError as error:
        raise Malformed("is not a form", "body") from error


def _verify_token(authorization: str, body: bytes, secret: str, api_key: str, now_ms: int) -> None:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise NotGenuine("the scheme of Vonage's signature is Bearer")
    try:
        options = {"require": ["iat", "payload_hash"], "verify_iat": False, "verify_aud": False}
        claims = jwt.decode(token.strip(), secret, algorithms=["HS256"], options=options)  # type: ignore[arg-type]
        age_ms = now_ms - int(claims["iat"]) * 1000
    except _BAD_TOKEN as error:
        raise NotGenuine("the token is not Vonage's") from error
    if abs(age_ms) > FRESH_MS:
        raise NotGenuine("the token's time is too far from ours")
    if claims.get("api_key", api_key) != api_key:
        raise NotGenuine("the token is of another account")
    given = claims["payload_hash"]
    if not isinstance(given, str) or not _equal(given.lower(), hashlib.sha256(body).hexdigest()):
        raise NotGenuine("the token is of another body")


def _verify_fields(fields: Mapping[str, Any], secret: str, now_ms: int) -> None:
    given = fields.get("sig")
    digest = _DIGESTS.get(len(given)) if isinstance(given, str) else None
    if digest is None:
        raise NotGenuine("there is no signature: neither a token nor sig with SHA-256 or SHA-512")
    at_ms = _at_ms(text(fields, "timestamp"))
    if at_ms is None or abs(at_ms - now_ms) > FRESH_MS:
        raise NotGenuine("the signature's time is missing, or too far from ours")
    parts = (f"&{name}={_signed(value)}" for name, value in sorted(fields.items()) if name != "sig")
    computed = hmac.new(secret.encode(), "".join(parts).encode(errors="replace"), digest).hexdigest()
    if not _equal(str(given).lower(), computed):
        raise NotGenuine("the signature is not Vonage's")


def _equal(given: str, computed: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), computed.encode())


def _signed(value: Any) -> str:
    return str(value).replace("&", "_").replace("=", "_")


def _is_hard(said: dict[str, Any]) -> bool:
    if text(said, "err-code") in _HARD_SMS:
        return True
    error = member(said, "error")
    found = (_CODE_AT_END.search(text(error, name) or "") for name in ("type", "title"))
    return any(match is not None and match[1] in _HARD_MESSAGES for match in found)


def _inbound(message_id: str, said: dict[str, Any]) -> Event:
    number = text(said, "msisdn") or text(said, "from")
    if number is None:
        return UNREADABLE
    if number[0].isdigit():  # in international form, without its plus
        number = f"+{number}"
    is_sms = text(said, "channel") in (None, "sms")
    return InboundText(event_id(message_id, "inbound"), number, opt_out_of(text(said, "text")) if is_sms else None)


def _at_ms(at: str | None) -> int | None:
    """Unix ms of RFC 3339, of ``2026-11-29 10:00:00`` (UTC), or of Unix seconds."""
    found = ms_of_seconds(at)
    if found is None:
        found = ms_of_instant(at)
    if found is not None or at is None:
        return found
    try:
        return to_ms(datetime.strptime(at[:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC))
    except ValueError:
        return None
