"""What an operator does to a system under measurement: asks its gateway, and has the sandbox refuse for a while."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer

from bench.delivering import Pipe, name_of
from bench.ground import Ground
from schemas.topics import LIFECYCLE

#: Phones of the workload are iPhones.
PROVIDER = "apns"
#: Answered by a provider that is in order, of a message that can never work: so one call ends a send as failed.
_REFUSED = "PayloadEmpty"
#: A replay that names these takes exactly what was refused.
FAILED: Mapping[str, Any] = {"channel": "push", "status": ["failed"], "reason": ["permanent"]}
#: While nothing new comes for so long, nothing goes on any more.
NOTHING_NEW_S = 120.0


class Operator:
    """``async with operator(ground) as …``: calls of the gateway with one of the development keys."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What is answered. Raises RuntimeError for what is refused."""
        async with self._http.request(method, path, json=body) as answer:
            said = await answer.json()
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path} answered {answer.status}: {said}")
            return said


@asynccontextmanager
async def operator(ground: Ground, key: str) -> AsyncIterator[Operator]:
    """``key``: the id of a development key."""
    state = ground.system.state
    headers = {"Authorization": f"Bearer {state.api_keys[key]}"}
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(state.gateway_url, headers=headers, timeout=timeout) as http:
        yield Operator(http)


@asynccontextmanager
async def refusing(ground: Ground) -> AsyncIterator[None]:
    """The provider refuses every message meanwhile."""
    url = f"{ground.system.state.sandbox_url}/faults"
    fault = {"provider": PROVIDER, "action": "error", "code": _REFUSED}
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        await http.post(url, json=fault)
        try:
            yield
        finally:
            await http.delete(url)


async def fail(pipe: Pipe, count: int) -> frozenset[str]:
    """Requests so many pushes, each of which its provider refuses for good; returns when all have failed.

    The ids of the notifications. Raises ProcessEnded, TimeoutError.
    """
    ground = pipe.ground
    async with refusing(ground), _Failed(ground) as failed:
        records = list(pipe.take(count))
        await ground.produce(records, "requests that fail", count)
        task = ground.progress.add_task("  failed", total=count)
        changed = time.monotonic()
        while failed.count < count:
            if await failed.look():
                changed = time.monotonic()
            ground.progress.update(task, completed=failed.count)
            pipe.check()
            if time.monotonic() - changed > NOTHING_NEW_S:
                raise TimeoutError(f"{count - failed.count} of {count} did not fail")
        ground.progress.remove_task(task)
    return frozenset(map(name_of, records))


class _Failed:
    """Counts events ``failed`` as they come in."""

    def __init__(self, ground: Ground) -> None:
        self._consumer = AIOKafkaConsumer(
            LIFECYCLE, bootstrap_servers=ground.bootstrap, group_id=None, max_partition_fetch_bytes=4 << 20
        )
        self.count = 0

    async def __aenter__(self) -> "_Failed":
        await self._consumer.start()
        await self._consumer.seek_to_end()
        for part in self._consumer.assignment():
            await self._consumer.position(part)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def look(self) -> int:
        """How many came since the last look."""
        found = await self._consumer.getmany(timeout_ms=200)
        new = sum(b'"status":"failed"' in record.value for records in found.values() for record in records)
        self.count += new
        return new
