"""What can be seen from outside: lifecycle events from Kafka, and what the provider sandbox accepted."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from app.kafka.consumers import LogConsumer
from schemas.topics import DEAD, LIFECYCLE

_PAGE = 5_000


class LogWatch:
    """Collects the lifecycle events and dead letters that are written from now on."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = LogConsumer(LIFECYCLE, DEAD, bootstrap_servers=bootstrap, group_id=None, fetch_max_wait_ms=100)
        self._task: asyncio.Task[None] | None = None
        self.events: list[dict[str, Any]] = []
        self.dead: list[dict[str, Any]] = []

    async def start(self) -> None:
        await self._consumer.start()
        await self._consumer.seek_to_end()
        for part in self._consumer.assignment():
            await self._consumer.position(part)
        self._task = asyncio.create_task(self._collect())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.stop()

    async def _collect(self) -> None:
        decode = msgspec.json.decode
        while True:
            for part, records in (await self._consumer.getmany(timeout_ms=300)).items():
                into = self.events if part.topic == LIFECYCLE else self.dead
                read = (decode(record.value) for record in records if record.value)
                into.extend(each for each in read if each.get("status") != "device_retired")


class SandboxWatch:
    """What the sandbox accepted since the watch began."""

    def __init__(self, control_url: str, session: aiohttp.ClientSession) -> None:
        self._url = control_url
        self._session = session
        self._after = 0
        self.accepted: list[dict[str, Any]] = []

    async def start(self) -> None:
        """What was accepted before is not one of ours."""
        await self.read()
        self.accepted.clear()

    async def read(self) -> None:
        """Takes all that is new."""
        while page := await self._page():
            self.accepted.extend(page)
            self._after = page[-1]["seq"]

    async def stats(self) -> Mapping[str, Any]:
        async with self._session.get(f"{self._url}/stats") as response:
            stats: Mapping[str, Any] = await response.json()
            return stats

    async def add_fault(self, **fault: Any) -> str:
        """Returns its id."""
        async with self._session.post(f"{self._url}/faults", json=fault) as response:
            response.raise_for_status()
            return str((await response.json())["fault_id"])

    async def heal(self, fault_id: str) -> None:
        async with self._session.delete(f"{self._url}/faults/{fault_id}") as response:
            if response.status != 404:  # one that was used up is gone already
                response.raise_for_status()

    async def push_service(self) -> str:
        """The origin of the browsers' push service."""
        async with self._session.post(f"{self._url}/subscriptions") as response:
            response.raise_for_status()
            endpoint = urlsplit((await response.json())["endpoint"])
        return f"{endpoint.scheme}://{endpoint.netloc}"

    async def _page(self) -> list[dict[str, Any]]:
        query = {"after": str(self._after), "limit": str(_PAGE)}
        async with self._session.get(f"{self._url}/accepted", params=query) as response:
            found: list[dict[str, Any]] = (await response.json())["accepted"]
        return found
