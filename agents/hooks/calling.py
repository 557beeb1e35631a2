"""One call of a hook: over HTTPS to an address that may be called, which is looked up once and then called itself;
without redirects, proxies or cookies, and with an end."""

import time
from collections.abc import Sequence
from ipaddress import ip_address

import aiohttp
from yarl import URL

from app.domain.hooks import Answer, signed_headers
from app.domain.hosts import is_named
from app.resolving import NotPublic, PublicAddresses, is_public

#: From the first packet to the whole answer.
CALL_S = 15.0
#: What is read of an answer, so that its connection can be used again.
_READ_BYTES = 16 * 1024
_HEADERS = {"Content-Type": "application/json", "User-Agent": "Tocsin", "Accept": "*/*"}


class HookCaller:
    """Makes calls; never raises for what a receiver may do."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._allowed = allowed
        # Without a limit of all hooks together: each has its own, and none waits for another's.
        connector = aiohttp.TCPConnector(resolver=PublicAddresses(allowed), use_dns_cache=False, limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=CALL_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def call(self, url: str, secret: str, event_id: str, body: bytes) -> Answer:
        target = URL(url, encoded=True)
        if not self._may_be_called(target.host or "", target.port, target.scheme):
            return Answer("refused", "its address is not public")
        headers = {**_HEADERS, **signed_headers(secret, event_id, int(time.time()), body)}
        try:
            async with self._session.post(target, data=body, headers=headers, allow_redirects=False) as response:
                answer = _answer(response.status, response.headers.get("Retry-After"))
                await response.content.read(_READ_BYTES)
                if not response.content.at_eof():
                    response.close()
                return answer
        except TimeoutError:
            return Answer("failed", f"no answer within {CALL_S:g} s")
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, NotPublic):
                return Answer("refused", "its host has no public address")
            return Answer("failed", type(error).__name__)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer("failed", type(error).__name__)

    def _may_be_called(self, host: str, port: int | None, scheme: str) -> bool:
        """An address that is written out isn't looked up by anybody."""
        if is_named(host, port or 443, self._allowed):
            return True
        try:
            ip_address(host)
        except ValueError:
            return scheme == "https"
        return scheme == "https" and is_public(host)


def _answer(status: int, retry_after: str | None) -> Answer:
    if 200 <= status < 300:
        return Answer("ok")
    if status == 410:
        return Answer("gone", "it answered 410")
    asked = retry_after.strip() if retry_after else ""
    seconds = float(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else None
    return Answer("failed", f"it answered {status}", seconds)
