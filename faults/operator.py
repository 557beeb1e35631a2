"""An operator's or a service's calls of the gateway, made again while it is away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Self

import aiohttp

from faults.system import Faulty

LIMIT_S = 240.0
POLL_S = 0.3
#: Answered by a gateway that was started a moment ago (404: what it hasn't read yet), or that has too much to do.
_AGAIN = frozenset((404, 429, 503))

Body = Callable[[], AsyncIterator[bytes]]


class Operator:
    """``async with Operator(system, "admin") as operator``. ``key``: one of the development keys, by its id."""

    def __init__(self, system: Faulty, key: str) -> None:
        state = system.dev.state
        self._url = state.gateway_url
        self._http = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {state.api_keys[key]}"},
            timeout=aiohttp.ClientTimeout(total=None, connect=10.0, sock_read=10.0),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What is answered. Raises RuntimeError for what is refused, and TimeoutError."""
        status, said = await self.ask(method, path, json=body)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status}: {said}")
        return said

    async def ask(self, method: str, path: str, *, body: Body | None = None, **how: Any) -> tuple[int, Any]:
        """Status and answer, whatever they are. ``body``: makes the body anew for each try. Raises TimeoutError."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                data = None if body is None else body()
                try:
                    async with self._http.request(method, f"{self._url}{path}", data=data, **how) as answer:
                        if answer.status not in _AGAIN:
                            is_json = answer.content_type.endswith("json")
                            return answer.status, await answer.json() if is_json else await answer.text()
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await asyncio.sleep(POLL_S)
