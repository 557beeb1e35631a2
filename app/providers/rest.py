"""HTTP to vendors whose own clients hide resends or wait for ever: one request a call, real limits, no redirects."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from aiohttp.abc import AbstractResolver

from app.config.providers import ProviderSettings
from app.domain.outcome import Outcome
from app.providers.wire import CONNECT_S, QUESTIONS, Answer, leaves, tls_context, unanswered


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that came whole. ``headers`` may be asked for in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body's object; empty where it holds anything else."""
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return found if isinstance(found, dict) else {}


class Rest:
    """One pool of connections. Made inside the event loop."""

    def __init__(self, settings: ProviderSettings, resolver: AbstractResolver | None = None) -> None:
        """Raises ValueError: the authorities can't be read."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=settings.concurrency + QUESTIONS, ssl=tls_context(settings.ca_file), resolver=resolver
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            response_class=Answer,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Reply | Outcome:
        """Makes one request; an outcome where no whole answer came."""
        return await self._request("POST", url, timeout_s, data=body, headers=headers)

    async def get(
        self, url: str, params: Mapping[str, str], headers: Mapping[str, str], timeout_s: float
    ) -> Reply | Outcome:
        """The same for a question."""
        return await self._request("GET", url, timeout_s, params=params, headers=headers)

    async def close(self) -> None:
        await self._session.close()

    async def _request(self, method: str, url: str, timeout_s: float, **parts: Any) -> Reply | Outcome:
        try:
            async with asyncio.timeout(timeout_s):
                leaves()
                async with self._session.request(method, url, allow_redirects=False, **parts) as response:
                    return Reply(response.status, response.headers, await response.read())
        except Exception as error:
            return unanswered(error)
