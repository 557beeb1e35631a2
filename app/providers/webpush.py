"""Web push (RFC 8030, 8291, 8292) to the browsers' push services, by a connection of our own.

A subscription's endpoint is a URL that a user gave: only push services that are known or allowed are called, by https,
at public addresses, and redirects are not followed.
"""

import re
import time
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import jwt
import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.config.providers import WebPush as Settings
from app.domain.hosts import is_named
from app.domain.outcome import Outcome
from app.ports import Address, Handle, Message
from app.providers.push import actions_of
from app.providers.rest import Reply, Rest
from app.providers.webpush_encryption import MAX_PLAINTEXT, encrypt, public_bytes
from app.providers.wire import answered, dropped, kind_of_status, retry_after_ms, unusable
from app.resolving import PublicAddresses
from schemas.requests import PushOptions
from schemas.words import Channel, Priority, Provider

#: Where browsers subscribe: Chrome, Edge, Opera and Samsung at Google's or Microsoft's, Firefox at Mozilla's, Safari.
PUSH_SERVICES = ("fcm.googleapis.com", "jmt17.google.com", "android.googleapis.com")
PUSH_SERVICE_DOMAINS = (".push.services.mozilla.com", ".push.apple.com", ".notify.windows.com")

#: The longest that push services keep a message: four weeks.
MAX_TTL_S = 2_419_200
#: How long a signature of ours counts (RFC 8292: at most 24 hours), and how long it is used.
SIGNATURE_S, RENEW_S = 12 * 3600, 6 * 3600
#: Push services of which something is kept; Microsoft has some dozens of hosts, nobody has thousands.
_ORIGINS = 1000
#: A push service says "too many" of one subscription, or of all that we send. So many subscriptions that were refused,
#: among so many latest answers of the service, mean all.
_REFUSED, _LATEST = 5, 10
URGENCY: dict[Priority, str] = {"critical": "high", "high": "high", "normal": "normal", "low": "low"}

#: How push services say that a subscription was made with another key: Google (both APIs), Mozilla, Apple.
_MISMATCH = re.compile(rb"do(es)? not correspond|key mismatch|VapidPkHashMismatch|UnauthorizedRegistration", re.I)
#: Whatever else they have against our signature in a 400.
_SIGNATURE = re.compile(rb"vapid|jwt|crypto-key", re.I)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where a browser wants to be reached: see ``app.domain.addresses.parse_subscription``."""

    endpoint: str
    p256dh: bytes
    auth: bytes

    @property
    def origin(self) -> str:
        parts = urlsplit(self.endpoint)
        return f"{parts.scheme}://{parts.netloc}"


class PushServices:
    """Which push services refuse as too many whatever they are sent."""

    def __init__(self) -> None:
        #: By origin: which subscription each of the latest answers refused, None for other answers.
        self._latest: dict[str, deque[int | None]] = {}

    def note(self, to: Subscription, *, refused: bool) -> bool:
        """Takes an answer. Returns whether the service limits us, not the subscription."""
        latest = self._latest.get(to.origin)
        if latest is None:
            if len(self._latest) >= _ORIGINS:
                self._latest.clear()
            latest = self._latest[to.origin] = deque(maxlen=_LATEST)
        latest.append(hash(to.endpoint) if refused else None)
        return refused and len(set(latest) - {None}) >= _REFUSED


class WebPush:
    """One key of ours (VAPID), by which the app's subscriptions were made."""

    name: Provider = "webpush"
    channel: Channel = "push"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._allowed = settings.allow_hosts
        self._rest: Rest | None = None
        self._key: ec.EllipticCurvePrivateKey | None = None
        self._public = ""
        #: By origin: our signature for it, and when a new one is due (Unix s).
        self._signatures: dict[str, tuple[str, float]] = {}
        #: A push service has taken our key: who refuses it from now on speaks of the subscription.
        self._proven = False
        self._services = PushServices()

    async def start(self) -> None:
        """Reads the key; nothing is called yet.

        Raises:
            ValueError: the key or the authorities can't be read.
        """
        self._key = read_key(self._settings.vapid_private_key.get_secret_value())
        self._public = _base64url(public_bytes(self._key))
        self._rest = Rest(self._settings, PublicAddresses(self._allowed))

    async def send(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome:
        """Makes one request: see ``ProviderClient.send``."""
        assert self._rest is not None, "start() first"
        subscription = read_subscription(to.value)
        if subscription is None:
            return unusable("not_a_subscription")
        if not is_allowed(subscription.endpoint, self._allowed):
            return dropped("host_not_allowed", "no_provider")
        payload = compose(message, handle)
        if len(payload) > MAX_PLAINTEXT:
            return dropped("413", "too_large")
        try:
            body = encrypt(payload, subscription.p256dh, subscription.auth)
        except ValueError:
            return unusable("invalid_key")
        now_s = time.time()
        headers = {
            "Authorization": self._authorization(subscription.origin, now_s),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(min(max(0, int(handle.expires_at_ms / 1000 - now_s)), MAX_TTL_S)),
            "Urgency": URGENCY[handle.priority],
            "Topic": topic_of(handle.collapse_id),
        }
        reply = await self._rest.post(subscription.endpoint, body, headers, timeout_s)
        if isinstance(reply, Outcome):
            return reply
        outcome = outcome_of(reply, self._proven, time.time())
        self._proven = self._proven or outcome.kind == "ok"
        limits_us = self._services.note(subscription, refused=outcome.kind == "throttle")
        return replace(outcome, scope="lane") if limits_us else outcome

    async def ask(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome | None:
        """Push services offer no way to ask."""
        return None

    async def close(self) -> None:
        if self._rest is not None:
            await self._rest.close()

    def _authorization(self, origin: str, now_s: float) -> str:
        """Signing costs as much as encrypting, so one signature serves a push service for hours."""
        assert self._key is not None
        signature, due_s = self._signatures.get(origin, ("", 0.0))
        if now_s >= due_s:
            claims = {"aud": origin, "exp": int(now_s) + SIGNATURE_S, "sub": self._settings.subject}
            signature = jwt.encode(claims, self._key, "ES256")
            if len(self._signatures) >= _ORIGINS:
                self._signatures.clear()
            self._signatures[origin] = (signature, now_s + RENEW_S)
        return f"vapid t={signature}, k={self._public}"


def read_key(text: str) -> ec.EllipticCurvePrivateKey:
    """A VAPID key: base64url of its 32 bytes, as browsers' tools write it, or PEM.

    Raises ValueError.
    """
    wrong = ValueError("providers.webpush.vapid_private_key: neither 32 bytes in base64url nor a P-256 key in PEM")
    written = text.strip()
    try:
        if written.startswith("-----BEGIN"):
            key = serialization.load_pem_private_key(written.encode(), None)
        else:
            raw = b64decode(written.rstrip("=").encode() + b"=" * (-len(written.rstrip("=")) % 4), b"-_", validate=True)
            if len(raw) != 32:
                raise wrong
            key = ec.derive_private_key(int.from_bytes(raw), ec.SECP256R1())
    except (ValueError, TypeError) as error:
        raise wrong from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise wrong
    return key


def read_subscription(token: str) -> Subscription | None:
    """A device's token as ``app.domain.addresses.parse_subscription`` wrote it; None if it isn't such."""
    try:
        told = orjson.loads(token)
        endpoint, keys = told["endpoint"], told["keys"]
        p256dh, auth = (urlsafe_b64decode(keys[name] + "=" * (-len(keys[name]) % 4)) for name in ("p256dh", "auth"))
        urlsplit(endpoint).port  # noqa: B018  (raises where the port is none)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return Subscription(endpoint, p256dh, auth) if (len(p256dh), len(auth)) == (65, 16) else None


def is_allowed(endpoint: str, allowed: Collection[str]) -> bool:
    """Whether it is https on a browser's push service, or on a host that the settings name as ``host`` or
    ``host:port``."""
    parts = urlsplit(endpoint)
    host, port = parts.hostname or "", parts.port or 443
    if parts.scheme != "https" or parts.username is not None:
        return False
    if is_named(host, port, allowed):
        return True
    return port == 443 and (host in PUSH_SERVICES or host.endswith(PUSH_SERVICE_DOMAINS))


def compose(message: Message, handle: Handle) -> bytes:
    """What the app's service worker is given: docs/operating.md#webpush. A later one with the same ``tag`` replaces the
    first on the screen."""
    shown = {name: getattr(message, name) for name in ("title", "body", "url", "image")}
    names = {"tag": handle.collapse_id, "send_id": handle.send_id, "notification_id": handle.notification_id}
    told = {name: value for name, value in {**shown, "data": message.data, **names}.items() if value}
    return orjson.dumps(told if message.push is None else told | _asked(message.push))


def _asked(options: PushOptions) -> dict[str, Any]:
    """``silent``: the service worker shows it without a sound, as browsers have something shown of every push."""
    asked = {
        "badge": options.badge,
        "category": options.category,
        "actions": actions_of(options) or None,
        "silent": options.silent or options.sound == "" or None,
    }
    return {name: value for name, value in asked.items() if value is not None}


def topic_of(collapse_id: str) -> str:
    """32 characters of base64url: a message that waits at the push service is replaced by a later one of its topic."""
    return _base64url(sha256(collapse_id.encode()).digest()[:24])


def outcome_of(reply: Reply, proven: bool, now_s: float) -> Outcome:
    """What an answer means. ``proven``: our key was taken before."""
    status, code = reply.status, str(reply.status)
    wait_ms = retry_after_ms(reply.headers.get("Retry-After"), now_s)
    match status:
        case 200 | 201 | 202:
            return Outcome("ok", provider_message_id=reply.headers.get("Location"))
        case 404 | 410:
            return Outcome("bad_token", code=code)
        case 400 | 401 | 403 if _MISMATCH.search(reply.body):
            return Outcome("bad_token" if proven else "config", code="vapid_mismatch")
        case 400:
            return Outcome("config", code=code) if _SIGNATURE.search(reply.body) else dropped(code)
        case 406 | 429:  # Microsoft's says 406 of too many
            return answered("throttle", code, wait_ms, "address")
        case 413:
            return dropped(code, "too_large")
        case _ if status in (500, 503) or 300 <= status < 400:
            return answered("retry", code, wait_ms)  # not taken, and a repeat would replace the first
        case _:
            return answered(kind_of_status(status), code, wait_ms)


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
