"""The issuer's published keys (RFC 7517), fetched when needed and kept for a while."""

import asyncio
import time
from typing import Any

import aiohttp
import jwt
import msgspec
import structlog

from app.api.problems import later

_KEPT_S = 300.0
#: A token may name any key: an unknown one has the set fetched anew at most this often.
_REFETCH_S = 10.0
_TIMEOUT = aiohttp.ClientTimeout(total=5)
_MOST_BYTES = 1 << 20

log = structlog.get_logger(__name__)


class PublishedKeys:
    """Finds the key that a token names by its ``kid``."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._keys: dict[Any, jwt.PyJWK] = {}
        self._fetched_at = -_KEPT_S
        self._fetching = asyncio.Lock()

    async def find(self, token: str) -> jwt.PyJWK:
        """Raises jwt.PyJWTError for a key that the issuer hasn't published, Problem 503 when it can't be asked."""
        kid = jwt.get_unverified_header(token).get("kid")
        key = self._kept(kid)
        if key is None:
            async with self._fetching:
                key = self._kept(kid)
                if key is None and time.monotonic() - self._fetched_at >= _REFETCH_S:
                    await self._fetch()
                    key = self._kept(kid)
        if key is None:
            raise jwt.InvalidKeyError("unknown kid")
        return key

    def _kept(self, kid: str | None) -> jwt.PyJWK | None:
        return self._keys.get(kid) if time.monotonic() - self._fetched_at < _KEPT_S else None

    async def _fetch(self) -> None:
        try:
            async with self._session.get(self._url, timeout=_TIMEOUT, allow_redirects=False) as response:
                response.raise_for_status()
                document = b""
                async for chunk in response.content.iter_chunked(_MOST_BYTES):
                    document += chunk
                    if len(document) > _MOST_BYTES:
                        raise later("the issuer's keys are too many", retry_after_s=5)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise later("the issuer's keys can't be read", retry_after_s=5) from error
        self._keys = published_keys(document)
        self._fetched_at = time.monotonic()


def published_keys(document: bytes) -> dict[Any, jwt.PyJWK]:
    """The keys of a JWK set that verify signatures, by ``kid``. What can't be read as such is no key."""
    try:
        published = msgspec.json.decode(document)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        published = None
    entries = published.get("keys") if isinstance(published, dict) else None
    keys: dict[Any, jwt.PyJWK] = {}
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or not _verifies(entry):
            continue
        try:
            keys.setdefault(entry.get("kid"), jwt.PyJWK.from_dict(entry))
        except Exception as error:  # whatever its members hold: the libraries below raise all sorts
            log.warning("a published key can't be read", error=type(error).__name__)
    return keys


def _verifies(entry: dict[str, Any]) -> bool:
    """Whether the key is for signatures (RFC 7517, 4.2 and 4.3), and no shared secret: what is published isn't one."""
    operations = entry.get("key_ops")
    for_this = operations is None or (isinstance(operations, list) and "verify" in operations)
    named = entry.get("kid") is None or isinstance(entry["kid"], str)
    return for_this and named and entry.get("use", "sig") == "sig" and entry.get("kty") != "oct"
