"""Addresses: one form for each mail address, phone number and device token, and the key that suppresses it."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

import idna
import msgspec
import phonenumbers

from app.domain.hosts import is_named, is_public_host
from schemas.commands import MAX_TOKEN_BYTES
from schemas.words import Channel, Platform

#: Longer than any address that mail or a telephone knows: what parses them is spared the rest.
_LONGEST = 320
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

_HEX = re.compile(r"[0-9a-f]{64,200}")
#: How Apple's own ``description`` of a token was written for years: ``<740f4707 bebcf74f …>``.
_WRITTEN_AROUND = re.compile(r"[\s<>]+")
#: Of a subscription's keys (RFC 8291): an uncompressed point of P-256, and 16 bytes.
_KEY_BYTES = {"p256dh": 65, "auth": 16}
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_URL = re.compile(r"[!-~]+")
#: No controls (C0, DEL, C1), no line or paragraph separators, nothing that is only half a character.
_PRINTED = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def parse_phone(text: str, *, claimed: bool = False) -> str | None:
    """The number in E.164 (``+442071838750``); None if it isn't one with its country's code.

    ``claimed``: only a number that its country has assigned to subscribers will do, not one that merely has the length.
    """
    if not text.startswith("+") or len(text) > _LONGEST:
        return None
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_possible_number(number):
        return None
    if claimed and not phonenumbers.is_valid_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def parse_email(text: str) -> str | None:
    """The address with its domain in lower case and as DNS writes it; None if it isn't one.

    Domains are read by IDNA 2008 with the mapping of UTS 46, non-transitional: ``straße.example`` isn't
    ``strasse.example``. Letters outside ASCII before the @ would need SMTPUTF8, which SES doesn't offer.
    """
    local, _, domain = text.rpartition("@")
    if len(text) > _LONGEST or not _LOCAL.fullmatch(local) or len(local) > 64:
        return None
    ascii_domain = _domain(domain)
    if ascii_domain is None or len(local) + len(ascii_domain) > 253:
        return None
    return f"{local}@{ascii_domain}"


def _domain(written: str) -> str | None:
    domain = written.lower()
    if not domain.isascii() or "xn--" in domain:
        try:
            domain = idna.encode(written, uts46=True, std3_rules=True).decode()
        except UnicodeError:
            return None
    labels = domain.split(".")
    if len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return domain


def parse_token(platform: Platform, text: str) -> str | None:
    """A device's token in its one form; None if it can't be one. Of ``web``: the subscription's JSON.

    Apple's tokens are bytes that people write in hex, in either case. FCM's mean something as they are written.
    """
    if platform == "ios":
        token = _WRITTEN_AROUND.sub("", text).lower()
        return token if _HEX.fullmatch(token) else None
    token = text.strip()
    if platform == "web":
        try:
            return parse_subscription(msgspec.json.decode(token))
        except (msgspec.DecodeError, NotASubscription, UnicodeError):
            return None
    return token if _PRINTED.fullmatch(token) and len(token.encode()) <= MAX_TOKEN_BYTES else None


class NotASubscription(Exception):
    """Not a web push subscription: ``field`` of it is at fault."""

    def __init__(self, reason: str, field: str) -> None:
        super().__init__(reason)
        self.field = field


def parse_subscription(subscription: Any) -> str:
    """A web push subscription as canonical JSON: where it goes and its keys. Raises NotASubscription."""
    members = subscription if isinstance(subscription, Mapping) else {}
    keys = members.get("keys")
    canonical = {
        "endpoint": _endpoint(members.get("endpoint")),
        "keys": {name: _key(keys.get(name) if isinstance(keys, Mapping) else None, name) for name in _KEY_BYTES},
    }
    token = msgspec.json.encode(canonical, order="sorted").decode()
    if len(token) > MAX_TOKEN_BYTES:
        raise NotASubscription(f"makes the subscription larger than {MAX_TOKEN_BYTES} bytes", "endpoint")
    return token


def check_push_host(subscription: str, allowed: Collection[str]) -> None:
    """Raises NotASubscription unless its endpoint is on a public host and https's own port, or ``allowed``: as
    ``host`` or ``host:port``."""
    parts = urlsplit(msgspec.json.decode(subscription)["endpoint"])
    host, port = parts.hostname or "", parts.port or 443
    if is_named(host, port, allowed):
        return
    if not is_public_host(host):
        raise NotASubscription("names a host that isn't public, and providers.webpush.allow_hosts lacks it", "endpoint")
    if port != 443:
        raise NotASubscription("names another port than 443, and providers.webpush.allow_hosts lacks it", "endpoint")


def _endpoint(given: Any) -> str:
    if not isinstance(given, str):
        raise NotASubscription("is required", "endpoint")
    url = given.strip()
    wrong = NotASubscription("is not an https URL", "endpoint")
    if not _URL.fullmatch(url):
        raise wrong
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise wrong from error
    if parts.scheme != "https" or not host or parts.username is not None or parts.password is not None:
        raise wrong
    where = f"[{host}]" if ":" in host else host
    at = "" if port in (None, 443) else f":{port}"
    return f"https://{where}{at}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")


def _key(given: Any, name: str) -> str:
    if not isinstance(given, str):
        raise NotASubscription("is required", f"keys.{name}")
    text = given.strip().rstrip("=").replace("+", "-").replace("/", "_")
    length = _KEY_BYTES[name]
    wrong = NotASubscription(f"is not {length} bytes in base64url", f"keys.{name}")
    if not _BASE64URL.fullmatch(text) or len(text) != -(-length * 4 // 3):
        raise wrong
    key = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if len(key) != length or (name == "p256dh" and key[0] != 4):
        raise wrong
    return urlsafe_b64encode(key).rstrip(b"=").decode()


def address_hash(channel: Channel, address: str) -> bytes:
    """16 bytes under which an address of a channel is remembered, whatever its letters' case or its blanks. A device's
    token is to be in its one form: what it is depends on the platform."""
    written = address.strip()
    if channel == "email":
        written = parse_email(written) or written
    elif channel == "sms":
        written = parse_phone(written) or written
    return parsed_hash(channel, written)


def parsed_hash(channel: Channel, parsed: str) -> bytes:
    """The same of an address as ``parse_email`` or ``parse_phone`` gave it: reading a number costs 50 times as much."""
    written = parsed.lower() if channel == "email" else parsed
    return blake2b(f"{channel}\n{written}".encode(), digest_size=16).digest()


def earlier_hash(channel: Channel, parsed: str) -> bytes | None:
    """Where the address was remembered while domains were read by IDNA 2003; None: where it is now.

    The two differ for ß, ς and the joiners only: ``straße.example`` was ``strasse.example`` then.
    """
    if channel != "email" or "xn--" not in parsed:
        return None
    earlier = _earlier_domain(parsed.rpartition("@")[2])
    return parsed_hash(channel, f"{parsed.rpartition('@')[0]}@{earlier}") if earlier is not None else None


@lru_cache(maxsize=1024)
def _earlier_domain(domain: str) -> str | None:
    try:
        earlier = idna.decode(domain).encode("idna").decode().lower()
    except UnicodeError:
        return None
    return earlier if earlier != domain else None


def token_hashes(written: str) -> tuple[bytes, ...]:
    """The hashes of every device token that could be written so: whoever writes one doesn't always say whose it is."""
    platforms: tuple[Platform, ...] = ("ios", "android", "web")
    tokens = dict.fromkeys(token for platform in platforms if (token := parse_token(platform, written)) is not None)
    return tuple(parsed_hash("push", token) for token in tokens)
