"""Tocsin's calls to a service's webhook, verified as the Standard Webhooks specification has it
(standardwebhooks.com)."""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec
from msgspec import Struct

from tocsin.client.answers import LifecycleEvent
from tocsin.client.errors import WebhookError

_PREFIX = "whsec_"
_VERSION = "v1"
_SECONDS = re.compile(r"[0-9]{1,12}")
#: A call has one signature for each secret that its sender has.
_MOST_SIGNATURES = 32
_MOST_SECRET_BYTES = 1024


class WebhookEvent(Struct, frozen=True):
    """``type``: ``notification.sent``. ``data``: the lifecycle event, without its trail. The same event may come again:
    ``data.event_id`` is the same then."""

    type: str
    timestamp: str
    data: LifecycleEvent


_decode = msgspec.json.Decoder(WebhookEvent).decode


def verify_webhook(
    headers: Mapping[str, str],
    body: bytes,
    secret: str | Sequence[str],
    now: float,
    *,
    tolerance_s: float = 300.0,
) -> WebhookEvent:
    """The call, if Tocsin has made it; raises WebhookError for any other.

    ``body``: the bytes as they came. ``secret``: the hook's, or several while it is rotated. ``now``: Unix seconds; a
    call whose time is more than ``tolerance_s`` away isn't taken, as somebody may have recorded it.
    """
    keys = [_key(each) for each in ([secret] if isinstance(secret, str) else secret)]
    if not keys:
        raise ValueError("give at least one secret")
    given = {name.lower(): value for name, value in headers.items()}
    name, at, signatures = (given.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature"))
    if not name or not at or not signatures:
        raise WebhookError("webhook-id, webhook-timestamp and webhook-signature are required")
    if not _SECONDS.fullmatch(at):
        raise WebhookError("webhook-timestamp is not in Unix seconds")
    if abs(now - int(at)) > tolerance_s:
        raise WebhookError("webhook-timestamp is too far away: is this machine's clock right?")
    signed = f"{name}.{at}.".encode(errors="surrogateescape") + body
    expected = [base64.b64encode(hmac.new(key, signed, sha256).digest()) for key in keys]
    if not any(_is_one_of(signature, expected) for signature in signatures.split(" ")[:_MOST_SIGNATURES]):
        raise WebhookError("the signature is wrong")
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise WebhookError(f"signed, but no event of Tocsin: {error}") from error


def _is_one_of(signature: str, expected: Sequence[bytes]) -> bool:
    version, _, value = signature.partition(",")
    if version != _VERSION:
        return False
    shown = value.encode(errors="surrogateescape")
    matches = [hmac.compare_digest(shown, each) for each in expected]
    return any(matches)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not 0 < len(key) <= _MOST_SECRET_BYTES:
        raise ValueError("a secret is whsec_ and base64, as POST /v1/hooks answered")
    return key
