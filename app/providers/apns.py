"""Apple Push Notification service, by aioapns' hardened connection: exactly one request for each send."""

import asyncio
import json
import re
import time
from typing import Any, cast
from urllib.parse import quote

import jwt
from hpack import NeverIndexedHeaderTuple

from app.config.providers import Apns as Settings
from app.domain.outcome import Outcome, OutcomeKind
from app.ports import Address, Handle, Message
from app.providers.apns_http2 import Lost, NotSent, Reply
from app.providers.apns_pool import Pool
from app.providers.push import actions_of
from app.providers.wire import (
    answered,
    dropped,
    kind_of_status,
    leaves,
    lost,
    not_sent,
    note_status,
    retry_after_ms,
    tls_context,
)
from schemas.requests import PushOptions
from schemas.words import Channel, Provider

#: Apple's reasons in our words (developer.apple.com, "Handling notification responses from APNs").
REASONS: dict[str, OutcomeKind] = {
    "BadDeviceToken": "bad_token",
    "DeviceTokenNotForTopic": "bad_token",
    "Unregistered": "bad_token",
    "ExpiredToken": "bad_token",
    "BadCollapseId": "drop",
    "BadExpirationDate": "drop",
    "BadMessageId": "drop",
    "BadPriority": "drop",
    "DuplicateHeaders": "drop",
    "InvalidPushType": "drop",
    "MissingDeviceToken": "drop",
    "PayloadEmpty": "drop",
    "PayloadTooLarge": "drop",
    "BadTopic": "drop",
    "MissingTopic": "drop",
    "TopicDisallowed": "drop",
    "Forbidden": "drop",
    "BadPath": "drop",
    "MethodNotAllowed": "drop",
    "IdleTimeout": "retry",
    "InternalServerError": "retry",
    "ServiceUnavailable": "retry",
    "Shutdown": "retry",
    "TooManyRequests": "throttle",
    "TooManyProviderTokenUpdates": "config",
    "ExpiredProviderToken": "config",
    "InvalidProviderToken": "config",
    "MissingProviderToken": "config",
    "BadCertificate": "config",
    "BadCertificateEnvironment": "config",
    "BadEnvironmentKeyIdInToken": "config",
    "UnrelatedKeyIdInToken": "config",
}
#: Answers without a reason that we know.
STATUSES: dict[int, OutcomeKind] = {410: "bad_token", 500: "retry", 503: "retry"}
#: These speak of our settings, not of the message, when the topic is that of the settings.
TOPIC_REASONS = frozenset(("BadTopic", "MissingTopic", "TopicDisallowed"))

MAX_PAYLOAD = 4096
#: Calls in flight for which one connection is counted on (Apple allows a thousand, others fewer).
STREAMS = 100
_TOPIC = re.compile(r"[A-Za-z0-9.-]{1,255}")


class ProviderToken:
    """The signed token that all connections share: Apple refuses senders that change theirs too often."""

    RENEW_S = 30 * 60
    #: Apple allows one change in 20 minutes.
    MIN_AGE_S = 20 * 60

    def __init__(self, key: str, key_id: str, team_id: str) -> None:
        self._key, self._key_id, self._team_id = key, key_id, team_id
        self._issued_at = 0
        self._header = ""

    def header(self, now_s: float) -> str:
        """The ``authorization`` header's value, signed anew every half an hour."""
        if not self._header or now_s - self._issued_at >= self.RENEW_S:
            self._issued_at = int(now_s)
            claims = {"iss": self._team_id, "iat": self._issued_at}
            signed = jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self._key_id})
            self._header = f"bearer {signed}"
        return self._header

    def expire(self, now_s: float) -> None:
        """Apple holds the token expired: sign anew at the next call, unless it is so young that our clock is wrong."""
        if now_s - self._issued_at >= self.MIN_AGE_S:
            self._header = ""


class Apns:
    """One team's key on one host. ``Address.app_id`` stands in for the topic where the device named its app."""

    name: Provider = "apns"
    channel: Channel = "push"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool: Pool | None = None
        self._token: ProviderToken | None = None

    async def start(self) -> None:
        """Reads the key and the authorities; connections are made when first needed.

        Raises:
            ValueError: a file can't be read or doesn't hold what it should.
        """
        given = self._settings
        try:
            token = ProviderToken(given.key_file.read_text(), given.key_id, given.team_id)
            token.header(time.time())
        except (OSError, ValueError, TypeError, jwt.InvalidKeyError) as error:
            raise ValueError(f"providers.apns.key_file: {given.key_file}: not a readable ES256 key") from error
        tls = tls_context(given.ca_file, "h2")
        self._token = token
        self._pool = Pool(given.host, given.port, tls, max_connections=1 + given.concurrency // STREAMS)

    async def send(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome:
        """Makes one request: see ``ProviderClient.send``."""
        assert self._pool is not None, "start() first"
        assert self._token is not None
        body = payload(message, handle)
        if len(body) > MAX_PAYLOAD:
            return dropped("PayloadTooLarge", "too_large")
        topic = to.app_id or self._settings.topic
        if not _TOPIC.fullmatch(topic):
            return dropped("BadTopic")
        deadline = asyncio.get_running_loop().time() + timeout_s
        headers = self._headers(to, topic, handle, is_silent=message.push is not None and message.push.silent)
        leaves()
        match await self._pool.send(headers, body, deadline):
            case NotSent(why):
                return not_sent(why)
            case Lost(doubt):
                return lost(doubt)
            case Reply() as reply:
                note_status(reply.status)
                return self._learn(reply, outcome_of(reply, handle.send_id, to.app_id is None, time.time()))

    def _learn(self, reply: Reply, outcome: Outcome) -> Outcome:
        """Heals what the next call would stumble over too."""
        if outcome.code == "ExpiredProviderToken" and self._token is not None:
            self._token.expire(time.time())
        elif outcome.code == "UnrelatedKeyIdInToken" and reply.by is not None:
            reply.by.drain()  # a connection is bound to the first key that it saw
        return outcome

    async def ask(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome | None:
        """Apple offers no way to ask."""
        return None

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    def _headers(self, to: Address, topic: str, handle: Handle, *, is_silent: bool) -> list[tuple[str, str]]:
        assert self._token is not None
        return [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", self._settings.host),
            _own(":path", f"/3/device/{quote(to.value, safe='')}"),
            _own("authorization", self._token.header(time.time())),
            _own("apns-id", handle.send_id.lower()),
            ("apns-topic", topic),
            ("apns-push-type", "background" if is_silent else "alert"),
            ("apns-priority", "5" if is_silent or handle.priority == "low" else "10"),
            _own("apns-expiration", str(handle.expires_at_ms // 1000)),
            _own("apns-collapse-id", handle.collapse_id),
        ]


def _own(name: str, value: str) -> tuple[str, str]:
    """A header kept out of HPACK's small table of what repeats, as Apple asks: it is one request's alone, or secret."""
    return cast(tuple[str, str], NeverIndexedHeaderTuple(name, value))


def payload(message: Message, handle: Handle) -> bytes:
    """The notification as compact JSON: ``aps``, the send's names, the message's url, image and data."""
    links = {name: link for name, link in (("url", message.url), ("image", message.image)) if link}
    names = {"send_id": handle.send_id, "notification_id": handle.notification_id}
    buttons = {"actions": actions_of(message.push)} if message.push is not None and message.push.actions else {}
    content = {**message.data, **links, **buttons, **names, "aps": _aps(message, handle)}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _aps(message: Message, handle: Handle) -> dict[str, Any]:
    alert = {name: text for name, text in (("title", message.title), ("body", message.body)) if text is not None}
    aps: dict[str, Any] = {"alert": alert}
    if handle.priority != "low":
        aps["sound"] = "default"
    if handle.priority == "critical":
        aps["interruption-level"] = "time-sensitive"
    if message.image:
        aps["mutable-content"] = 1  # lets the app's extension fetch the picture
    return aps if message.push is None else _as_asked(message.push, aps)


def _as_asked(options: PushOptions, usual: dict[str, Any]) -> dict[str, Any]:
    """``usual``: ``aps`` without the options. A background push has none of it: Apple doesn't wake an app by one that
    shows or sounds."""
    if options.silent:
        return {"content-available": 1}
    aps = usual
    if options.badge is not None:
        aps["badge"] = options.badge
    if options.sound:
        aps["sound"] = options.sound
    elif options.sound is not None:
        aps.pop("sound", None)
    named = (
        ("category", options.category),
        ("thread-id", options.thread_id),
        ("interruption-level", options.interruption_level),
    )
    aps |= {name: text for name, text in named if text is not None}
    if options.mutable_content:
        aps["mutable-content"] = 1
    return aps


def outcome_of(reply: Reply, send_id: str, own_topic: bool, now_s: float) -> Outcome:
    """What Apple's answer means; ``own_topic`` when the topic sent was that of the settings."""
    if reply.status == 200:
        return Outcome(
            "ok", provider_message_id=reply.headers.get(b"apns-id", send_id.encode()).decode("ascii", "replace")
        )
    told = _told(reply.body)
    reason = told.get("reason")
    code = reason if isinstance(reason, str) and reason else str(reply.status)
    kind = REASONS.get(code) or STATUSES.get(reply.status) or kind_of_status(reply.status)
    if code == "PayloadTooLarge" or reply.status == 413:
        return dropped(code, "too_large")
    if code in TOPIC_REASONS and own_topic:
        return Outcome("config", code=code)
    if kind == "bad_token":
        since = told.get("timestamp")
        return Outcome("bad_token", code=code, invalid_since_ms=since if isinstance(since, int) else None)
    wait_ms = retry_after_ms(reply.headers.get(b"retry-after", b"").decode("latin-1"), now_s)
    return answered(kind, code, wait_ms, "address" if code == "TooManyRequests" else "lane")  # Apple's is of one device


def _told(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
