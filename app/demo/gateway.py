"""The gateway, as the demonstration's service and its operator call it: by the client that services use."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from app.dev.state import State
from tocsin.client import AsyncTocsin, NotFound, Retrying, backoff

T = TypeVar("T")

#: How long they go on trying while the gateway doesn't answer, or doesn't know yet what it took a moment ago.
_PATIENCE_S, _PAUSE_S = 60.0, 0.2
_RETRYING = Retrying(attempts=1_000, total_s=_PATIENCE_S, pause_s=backoff(_PAUSE_S, 2 * _PAUSE_S))


@dataclass(frozen=True, slots=True)
class Gateway:
    service: AsyncTocsin
    operator: AsyncTocsin


@asynccontextmanager
async def reached(state: State) -> AsyncIterator[Gateway]:
    url, keys = state.gateway_url, state.api_keys
    async with (
        AsyncTocsin(url, keys["demo"], retrying=_RETRYING) as service,
        AsyncTocsin(url, keys["admin"], retrying=_RETRYING) as operator,
    ):
        yield Gateway(service, operator)


async def once_known(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks again while what was taken a moment ago isn't known. Raises TimeoutError."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            try:
                return await ask()
            except NotFound:
                await asyncio.sleep(_PAUSE_S)
