"""The HTTP API as a service asks it that isn't put off: what isn't answered is asked again."""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp

from app.dev.state import State

#: How long a service goes on trying while the gateway doesn't answer.
_PATIENCE_S, _PAUSE_S = 60.0, 0.2
_NOT_NOW = (429, 503)


class Gateway:
    """Whatever it is asked for can be asked twice without harm. Raises TimeoutError."""

    def __init__(self, session: aiohttp.ClientSession, state: State) -> None:
        self._session = session
        self._url = state.gateway_url
        self._keys = state.api_keys

    async def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str = "admin",
        headers: Mapping[str, str] | None = None,
        not_yet: tuple[int, ...] = (),
    ) -> Any:
        """The answer's JSON. ``key``: an API key's id; ``not_yet``: statuses upon which to ask again."""
        sent = {"Authorization": f"Bearer {self._keys[key]}", **(headers or {})}
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                try:
                    async with self._session.request(method, self._url + path, json=body, headers=sent) as answer:
                        if answer.status < 300:
                            return await answer.json()
                        if answer.status not in (*_NOT_NOW, *not_yet):
                            raise RuntimeError(f"the gateway answered {answer.status}: {await answer.text()}")
                except aiohttp.ClientConnectionError:
                    pass  # it is just being started again
                await asyncio.sleep(_PAUSE_S)
