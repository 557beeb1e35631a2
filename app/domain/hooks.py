"""Outbound webhooks: where they may lead, how a call is signed (standardwebhooks.com), when it is made again, and when
a hook is given up."""

import base64
import binascii
import hmac
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, Literal, NamedTuple, get_args
from urllib.parse import urlsplit
from zlib import crc32

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.domain.hosts import is_named, is_public_host
from schemas.decode import Invalid, Malformed
from schemas.hooks import MAX_URL_CHARS
from schemas.lifecycle import LifecycleEvent
from schemas.words import Status

#: What a hook can be called for. (A device that is retired is no service's: it has no source.)
HOOK_STATUSES: tuple[Status, ...] = tuple(status for status in get_args(Status) if status != "device_retired")

HOUR_MS = 3_600_000
#: A call is repeated for so long.
RETRIED_MS = 24 * HOUR_MS
#: A hook is disabled when no call has succeeded for so long.
FAILING_MS = 5 * 24 * HOUR_MS
_FIRST_PAUSE_MS, _LONGEST_PAUSE_MS = 5_000, HOUR_MS
#: What a receiver may ask for with Retry-After.
_MOST_ASKED_MS = HOUR_MS

_PREFIX = "whsec_"
_LEAST_SECRET_BYTES, _MOST_SECRET_BYTES = 24, 64
_NONCE_BYTES = 12
_USE = b"tocsin hook secret 1"
_LOOPBACK = re.compile(r"localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[?::1\]?")
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")

#: What came of a call. ``gone``: the receiver wants no more (410). ``refused``: its host has no address that may be
#: called.
CallOutcome = Literal["ok", "failed", "gone", "refused"]


class Answer(NamedTuple):
    """``why``: in words, without what the receiver said. ``retry_after_s``: as it asked."""

    outcome: CallOutcome
    why: str = ""
    retry_after_s: float | None = None


# --- where it leads ---


def check_url(url: str, allowed: Sequence[str]) -> None:
    """Raises Malformed for what is no URL of a web server, Invalid for one that may not be called. ``allowed``: hosts,
    or HOST:PORT, that may be called though they aren't public."""
    if len(url) > MAX_URL_CHARS:
        raise Malformed(f"is longer than {MAX_URL_CHARS} characters", "url")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Malformed("is not a URL", "url") from None
    if _UNPRINTABLE.search(url) or "\\" in url or parts.scheme not in ("http", "https") or not host:
        raise Malformed("is not a URL, such as https://example.com/hooks (other characters in it are %-encoded)", "url")
    if "@" in parts.netloc or parts.fragment or port == 0:
        raise Invalid("must hold no user, password or fragment", "url")
    is_allowed = is_named(host, port or (443 if parts.scheme == "https" else 80), allowed)
    if parts.scheme == "http" and not (is_allowed and _LOOPBACK.fullmatch(host)):
        raise Invalid("must be https (http: only to a loopback host that hooks.allow_hosts names)", "url")
    if not is_allowed and not is_public_host(host):
        raise Invalid("leads to no public host: name it in hooks.allow_hosts, if it may be called", "url")


# --- how it is signed ---


def new_secret(random: bytes) -> str:
    """``whsec_…`` of 24 random bytes."""
    return _PREFIX + base64.b64encode(random).decode()


def check_secret(secret: str) -> None:
    """Raises Malformed for one that isn't ``whsec_`` and base64 of 24 to 64 bytes."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not _LEAST_SECRET_BYTES <= len(key) <= _MOST_SECRET_BYTES:
        raise Malformed("must be whsec_ and base64 of 24 to 64 random bytes", "secret")


def signed_headers(secret: str, event_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """The three headers of the specification."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signature = hmac.new(key, f"{event_id}.{at_s}.".encode() + body, sha256).digest()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }


def seal(secret: str, installation: bytes, hook_id: str, nonce: bytes) -> bytes:
    """The hook's secret as it is stored. ``nonce``: 12 random bytes."""
    return nonce + AESGCM(_key(installation)).encrypt(nonce, secret.encode(), hook_id.encode())


def unseal(sealed: bytes, installation: Iterable[bytes], hook_id: str) -> str | None:
    """None: none of the secrets that the installation has or had opens it."""
    for each in installation:
        try:
            plain = AESGCM(_key(each)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], hook_id.encode())
            return plain.decode()
        except (InvalidTag, ValueError):
            continue
    return None


def _key(installation: bytes) -> bytes:
    return hmac.new(installation, _USE, sha256).digest()


# --- what it says ---


class _Called(msgspec.Struct, frozen=True):
    type: str
    timestamp: str
    data: dict[str, Any]


_encode = msgspec.json.Encoder().encode


def body_of(event: LifecycleEvent) -> bytes:
    """The body of the call: the same bytes in all attempts."""
    data = msgspec.structs.asdict(event)
    if event.detail is not None:
        data["detail"] = {name: value for name, value in event.detail.items() if name != "trail"} or None
    return _encode(_Called(f"notification.{event.status}", event.occurred_at, data))


# --- when it is made again ---


def retry_at(event_id: str, attempts: int, first_at: int, now: int, asked_s: float | None = None) -> int | None:
    """When to call again after so many failed attempts, Unix ms; None: it is given up. The pauses triple from 5 s to an
    hour, each up to a fifth shorter or longer, so that many calls don't come back at once."""
    if now - first_at >= RETRIED_MS:
        return None
    pause = min(_FIRST_PAUSE_MS * 3 ** min(attempts - 1, 20), _LONGEST_PAUSE_MS)
    spread = 0.8 + 0.4 * (crc32(f"{event_id} {attempts}".encode()) % 1000) / 1000
    pause = int(pause * spread)
    if asked_s is not None:
        pause = max(pause, min(int(asked_s * 1000), _MOST_ASKED_MS))
    # The last call is made at the very end, and not given up an hour before it.
    return min(now + pause, first_at + RETRIED_MS)


def is_given_up(failing_since: int | None, now: int) -> bool:
    """Whether no call has succeeded for so long that the hook is disabled."""
    return failing_since is not None and now - failing_since >= FAILING_MS
