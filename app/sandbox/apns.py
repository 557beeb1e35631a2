"""APNs: Apple's provider API over HTTP/2, with its header rules, provider tokens and reasons.

Source: Apple, "Sending notification requests to APNs" and "Handling notification responses from APNs".
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from app.sandbox.certificates import keep, new_ec_key
from app.sandbox.exchange import Judged, Moment, Reply, Request, attempt_of, refused, text_of
from app.sandbox.journal import Journal
from app.sandbox.records import Shown
from schemas.words import Provider

KEY_ID = "SANDBOXKEY"
TEAM_ID = "TOCSINTEAM"
TOPIC = "com.example.tocsin"

MAX_PAYLOAD, MAX_VOIP_PAYLOAD = 4096, 5120
TOKEN_AGE_S, CLOCK_SKEW_S = 3600, 60

STATUS = {
    **dict.fromkeys(
        (
            "BadCollapseId",
            "BadDeviceToken",
            "BadExpirationDate",
            "BadMessageId",
            "BadPriority",
            "BadTopic",
            "DeviceTokenNotForTopic",
            "DuplicateHeaders",
            "IdleTimeout",
            "InvalidPushType",
            "MissingDeviceToken",
            "MissingTopic",
            "PayloadEmpty",
            "TopicDisallowed",
        ),
        400,
    ),
    **dict.fromkeys(
        (
            "BadCertificate",
            "BadCertificateEnvironment",
            "BadEnvironmentKeyIdInToken",
            "ExpiredProviderToken",
            "Forbidden",
            "InvalidProviderToken",
            "MissingProviderToken",
            "UnrelatedKeyIdInToken",
        ),
        403,
    ),
    "BadPath": 404,
    "MethodNotAllowed": 405,
    "ExpiredToken": 410,
    "Unregistered": 410,
    "PayloadTooLarge": 413,
    "TooManyProviderTokenUpdates": 429,
    "TooManyRequests": 429,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    "Shutdown": 503,
}

#: Push types, and what each adds to the app's bundle id in the topic.
PUSH_TYPES = {
    "alert": "",
    "background": "",
    "complication": ".complication",
    "controls": ".push-type.controls",
    "fileprovider": ".pushkit.fileprovider",
    "liveactivity": ".push-type.liveactivity",
    "location": ".location-query",
    "mdm": "",
    "pushtotalk": ".voip-ptt",
    "voip": ".voip",
    "widgets": ".push-type.widgets",
}

_PATH = "/3/device/"
_HEX = frozenset(string.hexdigits)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Push:
    """A request's parts as the checks need them."""

    method: str
    path: str
    token: str
    names: tuple[str, ...]
    headers: dict[str, str]
    body: bytes
    payload: Any


def _read(request: Request) -> Push:
    try:
        payload = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        payload = None
    return Push(
        request.method,
        request.path,
        request.path.removeprefix(_PATH),
        tuple(name for name, _ in request.headers),
        dict(request.headers),
        request.body,
        payload,
    )


# Each check returns Apple's reason, or None. They are asked in this order.


def path_reason(push: Push) -> str | None:
    if not push.path.startswith(_PATH):
        return "BadPath"
    return None if push.method == "POST" else "MethodNotAllowed"


def duplicate_reason(push: Push) -> str | None:
    if len(push.headers) == len(push.names):
        return None
    repeated = (name for name, count in Counter(push.names).items() if count > 1)
    return "DuplicateHeaders" if any(n.startswith("apns-") or n == "authorization" for n in repeated) else None


def device_reason(push: Push) -> str | None:
    if not push.token:
        return "MissingDeviceToken"
    size = len(push.token)
    return None if 64 <= size <= 200 and size % 2 == 0 and _HEX.issuperset(push.token) else "BadDeviceToken"


def id_reason(push: Push) -> str | None:
    given = push.headers.get("apns-id")
    return None if given is None or _UUID.fullmatch(given) else "BadMessageId"


def push_type_reason(push: Push) -> str | None:
    given = push.headers.get("apns-push-type")
    return None if given is None or given in PUSH_TYPES else "InvalidPushType"


def topic_reason(push: Push) -> str | None:
    topic = push.headers.get("apns-topic")
    if not topic:
        return "MissingTopic"
    if not all(part and all(c.isascii() and (c.isalnum() or c == "-") for c in part) for part in topic.split(".")):
        return "BadTopic"
    return None if topic == TOPIC + PUSH_TYPES[push.headers.get("apns-push-type", "alert")] else "TopicDisallowed"


def priority_reason(push: Push) -> str | None:
    given = push.headers.get("apns-priority")
    if given is None:
        return None
    allowed = ("1", "5") if push.headers.get("apns-push-type") == "background" else ("1", "5", "10")
    return None if given in allowed else "BadPriority"


def expiration_reason(push: Push) -> str | None:
    given = push.headers.get("apns-expiration")
    return None if given is None or (given.isascii() and given.isdecimal()) else "BadExpirationDate"


def collapse_reason(push: Push) -> str | None:
    given = push.headers.get("apns-collapse-id")
    return None if given is None or 0 < len(given.encode()) <= 64 else "BadCollapseId"


def payload_reason(push: Push) -> str | None:
    limit = MAX_VOIP_PAYLOAD if push.headers.get("apns-push-type") == "voip" else MAX_PAYLOAD
    if len(push.body) > limit:
        return "PayloadTooLarge"
    return None if isinstance(push.payload, dict) and push.payload else "PayloadEmpty"


CHECKS: tuple[Callable[[Push], str | None], ...] = (
    duplicate_reason,
    id_reason,
    device_reason,
    push_type_reason,
    topic_reason,
    priority_reason,
    expiration_reason,
    collapse_reason,
    payload_reason,
)


class Apns:
    """One team's app. The key is made once in the folder."""

    name: Provider = "apns"
    protocols: tuple[str, ...] = ("h2",)
    codes = frozenset(STATUS)
    outage = "ServiceUnavailable"

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.env: Mapping[str, str] = {}
        self._key_file = folder / f"AuthKey_{KEY_ID}.p8"
        key = load_pem_private_key(keep(self._key_file, new_ec_key), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        self._public_key = key.public_key()
        #: When tokens that were found genuine were issued, so that a signature is verified once.
        self._issued_at: dict[str, int] = {}

    def open_at(self, host: str, port: int, ca_file: str) -> dict[str, Any]:
        return {
            "host": host,
            "port": port,
            "ca_file": ca_file,
            "key_file": str(self._key_file),
            "key_id": KEY_ID,
            "team_id": TEAM_ID,
            "topic": TOPIC,
        }

    def judge(self, request: Request, at: Moment) -> Judged:
        push = _read(request)
        reason = path_reason(push) or self.token_reason(push, at.ms // 1000)
        reason = reason or next((found for check in CHECKS if (found := check(push))), None)
        payload = push.payload if isinstance(push.payload, dict) else {}
        apns_id = push.headers.get("apns-id") or str(at.id).upper()
        judged = Judged(
            Reply(200, headers={"apns-id": apns_id}),
            address=push.token,
            send_id=text_of(payload.get("send_id")) or push.headers.get("apns-id"),
            notification_id=text_of(payload.get("notification_id")),
            attempt=attempt_of(payload.get("attempt")),
            provider_message_id=apns_id,
            shown=None if reason else _shown(push),
        )
        return judged if reason is None else refused(judged, reason, self.failure(reason, judged, at.ms))

    def failure(self, code: str, judged: Judged, since_ms: int) -> Reply:
        body: dict[str, Any] = {"reason": code}
        if STATUS[code] == 410:
            body["timestamp"] = since_ms
        headers = {"apns-id": judged.provider_message_id or "", "content-type": "application/json"}
        return Reply(STATUS[code], orjson.dumps(body), headers)

    def token_reason(self, push: Push, now_s: int) -> str | None:
        """Apple's reason against the provider token, None if it is genuine and fresh."""
        scheme, _, token = push.headers.get("authorization", "").partition(" ")
        if not token or scheme.lower() != "bearer":
            return "MissingProviderToken"
        issued_at = self._issued_at.get(token)
        if issued_at is None:
            issued_at = self._verify(token)
            if issued_at is None:
                return "InvalidProviderToken"
            if len(self._issued_at) >= 1000:
                self._issued_at.clear()
            self._issued_at[token] = issued_at
        if issued_at > now_s + CLOCK_SKEW_S:
            return "InvalidProviderToken"
        return "ExpiredProviderToken" if issued_at < now_s - TOKEN_AGE_S else None

    def _verify(self, token: str) -> int | None:
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(token, self._public_key, ["ES256"], options={"verify_iat": False})
        except jwt.PyJWTError:
            return None
        issued_at = claims.get("iat")
        genuine = header.get("kid") == KEY_ID and claims.get("iss") == TEAM_ID
        return issued_at if genuine and isinstance(issued_at, int) else None


def _shown(push: Push) -> Shown:
    aps = push.payload.get("aps")
    alert = aps.get("alert") if isinstance(aps, dict) else None
    words = alert if isinstance(alert, dict) else {"body": alert}
    own = {name: value for name, value in push.payload.items() if name != "aps"}
    expiration = push.headers.get("apns-expiration")
    return Shown(
        title=text_of(words.get("title")),
        subject=text_of(words.get("subtitle")),
        body=text_of(words.get("body")),
        url=text_of(own.get("url")),
        image=text_of(own.get("image")),
        collapse_id=push.headers.get("apns-collapse-id"),
        expiration=int(expiration) if expiration is not None else None,
        headers={name: value for name, value in push.headers.items() if name.startswith("apns-")},
        data=own,
    )
