"""Asking an HTTP server to take notifications: at a rate that doesn't wait for it, or as fast as it answers."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from bench.ground import Ground
from bench.workload import EVENT_TYPE, user_id

_USERS = 1_000


def notification(user: int) -> Mapping[str, Any]:
    content = {"title": "Number", "body": f"{user}"}
    return {"user_id": user_id(user), "event_type": EVENT_TYPE, "channels": ["in_app"], "content": content}


class Asker:
    """One caller, with a connection for each request that is on its way."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def ask(self, user: int) -> None:
        """Raises RuntimeError for any answer but 202."""
        async with self._http.post("/v1/notifications", json=notification(user)) as answer:
            if answer.status != 202:
                raise RuntimeError(f"{answer.url} answered {answer.status}: {await answer.text()}")

    async def offer(self, ground: Ground, rate: float, seconds: float, words: str) -> list[float]:
        """Milliseconds from when each request was due to its 202, at random (Poisson) times that don't wait."""
        chance = random.Random(words)
        took: list[float] = []

        async def ask(user: int, due: float) -> None:
            await self.ask(user)
            took.append(1000 * (time.monotonic() - due))

        task = ground.progress.add_task(f"  {words}", total=round(seconds))
        async with asyncio.TaskGroup() as asking:
            begun, at_s = time.monotonic(), 0.0
            while (at_s := at_s + chance.expovariate(rate)) < seconds:
                await asyncio.sleep(max(0.0, begun + at_s - time.monotonic()))
                asking.create_task(ask(chance.randrange(_USERS), begun + at_s))
                ground.progress.update(task, completed=int(at_s))
        ground.progress.remove_task(task)
        return took

    async def ask_for(self, requests: int, at_once: int) -> None:
        """So many, of which so many are on their way."""
        numbers = iter(range(requests))

        async def one_after_the_other() -> None:
            for number in numbers:
                await self.ask(number % _USERS)

        async with asyncio.TaskGroup() as asking:
            for _ in range(at_once):
                asking.create_task(one_after_the_other())


@asynccontextmanager
async def asker(url: str, key: str) -> AsyncIterator[Asker]:
    """``key``: the API key."""
    headers = {"Authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, headers=headers, timeout=timeout, connector=connector) as http:
        yield Asker(http)
