"""The issuer's published keys (RFC 7517), fetched when needed and kept for a while."""

import asyncio
import time

import aiohttp
import jwt
import msgspec

from app.api.problems import later

_KEPT_S = 300.0
#: A token may name any key: an unknown one has the set fetched anew at most this often.
_REFETCH_S = 10.0
_TIMEOUT = aiohttp.ClientTimeout(total=5)


class PublishedKeys:
    """Finds the key that a token names by its ``kid``."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._keys: dict[str | None, jwt.PyJWK] = {}
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
                document = msgspec.json.decode(await response.read())
            published = jwt.PyJWKSet.from_dict(document)
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, jwt.PyJWTError, AttributeError) as error:
            raise later("the issuer's keys can't be read", retry_after_s=5) from error
        self._keys = {key.key_id: key for key in published.keys}
        self._fetched_at = time.monotonic()
