"""A push service of browsers, and the browsers: takes messages (RFC 8030) signed by one key (RFC 8292), and decrypts
them (RFC 8291) with the keys of the subscriptions that it makes.

The decryption shares no code with the client: it is written from the receiver's side, and derives keys by HMAC.
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.sandbox.certificates import keep
from app.sandbox.exchange import Judged, Moment, Reply, Request, attempt_of, refused
from app.sandbox.journal import Journal
from app.sandbox.records import Shown
from schemas.words import Provider

SUBJECT = "mailto:notifications@example.com"
MAX_BODY, MAX_TTL_S, MAX_SIGNATURE_S = 4096, 2_419_200, 86_400

#: Code → what is said; the code is the HTTP status, as push services have no others in common.
ERRORS = {
    "400": "bad request",
    "401": "the request has no VAPID credentials",
    "403": "the VAPID credentials in the authorization header are invalid",
    "404": "no such subscription",
    "406": "too many notifications",
    "410": "the push subscription has unsubscribed or expired",
    "413": "the payload is larger than 4096 bytes",
    "429": "too many requests",
    "500": "internal error",
}
MISMATCH = "the VAPID credentials in the authorization header do not correspond to those used to subscribe"

_PATH = re.compile(r"/push/([A-Za-z0-9_-]{16,64})")
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
_URGENCIES = frozenset(("very-low", "low", "normal", "high"))
_AUTHORIZATION = re.compile(r"vapid t=([A-Za-z0-9_.-]+), ?k=([A-Za-z0-9_-]{87})", re.IGNORECASE)
_HEADER_BYTES = 16 + 4 + 1 + 65


class WebPush:
    """One push service. Every name is a subscription, made with the sandbox's own VAPID key; its browser's keys follow
    from the name, so that none has to be kept."""

    name: Provider = "webpush"
    protocols: tuple[str, ...] = ("http/1.1",)
    codes = frozenset(ERRORS)
    outage = "500"

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.env: Mapping[str, str] = {}
        self._private = keep(folder / "webpush-vapid.key", _new_key).decode()
        key = ec.derive_private_key(int.from_bytes(_decoded(self._private)), ec.SECP256R1())
        self._public = _encoded(_point(key))
        self._origin = ""

    def open_at(self, host: str, port: int, ca_file: str) -> dict[str, Any]:
        self._origin = f"https://{host}:{port}"
        return {
            "vapid_private_key": self._private,
            "subject": SUBJECT,
            "allow_hosts": [f"{host}:{port}"],
            "ca_file": ca_file,
        }

    def subscription(self) -> dict[str, Any]:
        """A new one, as a browser hands it to its page."""
        return subscription(self._origin)

    def judge(self, request: Request, at: Moment) -> Judged:
        path = _PATH.fullmatch(request.path)
        if path is None or request.method != "POST":
            return Judged(error("404"), operation="unknown", code="404")
        location = f"{self._origin}/message/{at.id}"
        ttl = request.header("ttl") or ""
        judged = Judged(
            Reply(201, headers={"location": location, "ttl": ttl}),
            address=f"{self._origin}{request.path}",
            provider_message_id=location,
        )
        objection = self._objection_to_signature(request, at.ms // 1000) or _objection_to_headers(request)
        if objection is None and len(request.body) > MAX_BODY:
            objection = "413", ERRORS["413"]
        if objection is not None:
            return refused(judged, objection[0], error(*objection))
        try:
            message = orjson.loads(decrypted(request.body, Browser.of(path[1])))
        except (NotForUs, orjson.JSONDecodeError) as problem:
            return refused(judged, "400", error("400", f"no browser could show this: {problem}"))
        if not isinstance(message, dict):
            return refused(judged, "400", error("400", "no browser could show this: not an object"))
        judged = replace(
            judged,
            send_id=_text(message.get("send_id")),
            notification_id=_text(message.get("notification_id")),
            attempt=attempt_of(message.get("attempt")),
        )
        return replace(judged, shown=_shown(message, request, at.ms // 1000 + int(ttl)))

    def failure(self, code: str, judged: Judged, since_ms: int) -> Reply:
        return error(code)

    def _objection_to_signature(self, request: Request, now_s: int) -> tuple[str, str] | None:
        given = request.header("authorization")
        if given is None:
            return "401", ERRORS["401"]
        parts = _AUTHORIZATION.fullmatch(given)
        if parts is None:
            return "403", "the authorization header is not vapid t=…, k=…"
        try:
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _decoded(parts[2]))
            required = {"require": ["aud", "exp", "sub"], "verify_exp": False}
            claims = jwt.decode(parts[1], key, ["ES256"], audience=self._origin, options=required)  # type: ignore[arg-type]
        except (jwt.PyJWTError, ValueError) as problem:
            return "403", f"{ERRORS['403']}: {problem}"
        if not now_s < claims["exp"] <= now_s + MAX_SIGNATURE_S:
            return "403", f"{ERRORS['403']}: exp is over, or more than 24 hours ahead"
        if not str(claims["sub"]).startswith(("mailto:", "https:")):
            return "403", f"{ERRORS['403']}: sub is neither mailto: nor https:"
        return None if parts[2] == self._public else ("403", MISMATCH)


def error(code: str, text: str | None = None) -> Reply:
    return Reply(int(code), (text or ERRORS[code]).encode(), {"content-type": "text/plain; charset=utf-8"})


def _objection_to_headers(request: Request) -> tuple[str, str] | None:
    ttl, topic, urgency = (request.header(name) for name in ("ttl", "topic", "urgency"))
    if ttl is None or not (ttl.isascii() and ttl.isdigit() and int(ttl) <= MAX_TTL_S):
        return "400", "TTL is required, a number of seconds up to four weeks"
    if topic is not None and not _TOPIC.fullmatch(topic):
        return "400", "Topic is at most 32 characters of base64url"
    if urgency is not None and urgency not in _URGENCIES:
        return "400", f"Urgency is not one of {', '.join(sorted(_URGENCIES))}"
    if request.header("content-encoding") != "aes128gcm":
        return "400", "Content-Encoding is not aes128gcm"
    return None


def _shown(message: dict[str, Any], request: Request, expiration: int) -> Shown:
    told = {name: request.header(name) for name in ("topic", "urgency")}
    data = message.get("data")
    return Shown(
        title=_text(message.get("title")),
        body=_text(message.get("body")),
        url=_text(message.get("url")),
        image=_text(message.get("image")),
        collapse_id=_text(message.get("tag")),
        expiration=expiration,
        tags={name: value for name, value in told.items() if value is not None},
        data=data if isinstance(data, dict) else {},
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


# --- the browser -------------------------------------------------------------------------------------------------


class NotForUs(ValueError):
    """The message can't be decrypted."""


@dataclass(frozen=True, slots=True)
class Browser:
    """What a subscription's owner knows of it."""

    key: ec.EllipticCurvePrivateKey
    auth: bytes

    @classmethod
    def of(cls, name: str) -> "Browser":
        """The one whose subscription has this name."""
        scalar = int.from_bytes(sha256(f"browser's key {name}".encode()).digest())
        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        return cls(
            ec.derive_private_key(scalar % (order - 1) + 1, ec.SECP256R1()),
            sha256(f"browser's secret {name}".encode()).digest()[:16],
        )


def subscription(origin: str, name: str | None = None) -> dict[str, Any]:
    """One of the sandbox's push service at ``origin``; without a name (16 to 64 characters of base64url) a new one."""
    name = name or secrets.token_urlsafe(24)
    browser = Browser.of(name)
    keys = {"p256dh": _encoded(_point(browser.key)), "auth": _encoded(browser.auth)}
    return {"endpoint": f"{origin}/push/{name}", "expirationTime": None, "keys": keys}


def decrypted(body: bytes, browser: Browser) -> bytes:
    """The message in a body of one ``aes128gcm`` record. Raises NotForUs."""
    if len(body) < _HEADER_BYTES + 17 or body[20] != 65 or len(body) > _HEADER_BYTES + int.from_bytes(body[16:20]):
        raise NotForUs("not one aes128gcm record with a P-256 key")
    salt, sender = body[:16], body[21:_HEADER_BYTES]
    try:
        shared = browser.key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender))
    except ValueError as error:
        raise NotForUs("the sender's key is no point of P-256") from error
    secret = _mac(_mac(browser.auth, shared), b"WebPush: info\0" + _point(browser.key) + sender + b"\1")
    seed = _mac(salt, secret)
    key = _mac(seed, b"Content-Encoding: aes128gcm\0\1")[:16]
    nonce = _mac(seed, b"Content-Encoding: nonce\0\1")[:12]
    try:
        padded = AESGCM(key).decrypt(nonce, body[_HEADER_BYTES:], None).rstrip(b"\0")
    except InvalidTag as error:
        raise NotForUs("encrypted for another subscription") from error
    if not padded.endswith(b"\2"):
        raise NotForUs("the last record doesn't end in the delimiter 2")
    return padded[:-1]


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _new_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return _encoded(key.private_numbers().private_value.to_bytes(32)).encode()
