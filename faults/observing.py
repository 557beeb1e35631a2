"""What anybody can see of a running system: its events and dead letters, and how far each role has committed."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from faults.record import Record
from schemas.topics import DEAD, LIFECYCLE

log = structlog.get_logger(__name__)

GROUPS = ("tocsin_router", "tocsin_push", "tocsin_email", "tocsin_sms", "tocsin_in_app", "tocsin_analytics")
_EVERY_S = 1.0
_PATIENCE_S = 60.0


def read_object(value: bytes | None) -> dict[str, Any] | None:
    """What a record says; None: no object, as anybody may write to any topic."""
    try:
        said = msgspec.json.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


class Observer:
    """From ``start`` to ``stop`` it collects events and dead letters, and samples committed offsets into the record.

    A broker that is away delays it and does no more.
    """

    def __init__(self, bootstrap: str, record: Record) -> None:
        self._bootstrap = bootstrap
        self._record = record
        self._consumer = AIOKafkaConsumer(
            LIFECYCLE,
            DEAD,
            bootstrap_servers=bootstrap,
            group_id=None,
            fetch_max_wait_ms=100,
            isolation_level="read_committed",
        )
        self._ends = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
        self._tasks: list[asyncio.Task[None]] = []
        self._over = False
        self._committed: dict[tuple[str, TopicPartition], int] = {}
        self.events: list[dict[str, Any]] = []
        self.dead: list[dict[str, Any]] = []

    async def start(self) -> None:
        await self._consumer.start()
        await self._ends.start()
        await self._consumer.seek_to_end()
        for part in self._consumer.assignment():
            await self._consumer.position(part)
        self._tasks = [asyncio.create_task(self._collect()), asyncio.create_task(self._sample())]

    async def stop(self) -> None:
        self._over = True
        for task in self._tasks:
            task.cancel()  # a client of Kafka may swallow it, so they look for themselves too
        await asyncio.wait(self._tasks)
        await self._consumer.stop()
        await self._ends.stop()

    async def lag(self) -> Mapping[str, int]:
        """By group, how many records lie behind its committed offsets as of now. Raises KafkaError."""
        await self._sample_once()
        committed = dict(self._committed)
        parts = {part for _, part in committed}
        async with asyncio.timeout(_PATIENCE_S):
            ends = await self._ends.end_offsets(list(parts))
        behind: dict[str, int] = {}
        for (group, part), offset in committed.items():
            behind[group] = behind.get(group, 0) + max(0, ends[part] - offset)
        return behind

    async def has_seen_all(self) -> bool:
        """Whether all events and dead letters that lie in the log now were collected. Raises KafkaError."""
        parts = list(self._consumer.assignment())
        async with asyncio.timeout(_PATIENCE_S):
            ends = await self._ends.end_offsets(parts)
        return all([await self._consumer.position(part) >= ends[part] for part in parts])

    async def _collect(self) -> None:
        while not self._over:
            try:
                fetched = await self._consumer.getmany(timeout_ms=300)
            except KafkaError as error:
                log.debug("no events for now", error=repr(error))
                await asyncio.sleep(_EVERY_S)
                continue
            for part, records in fetched.items():
                into = self.events if part.topic == LIFECYCLE else self.dead
                read = (said for record in records if (said := read_object(record.value)) is not None)
                into.extend(each for each in read if each.get("status") != "device_retired")

    async def _sample(self) -> None:
        while not self._over:
            try:
                await self._sample_once()
            except (KafkaError, OSError, TimeoutError) as error:
                log.debug("no offsets for now", error=repr(error))
            await asyncio.sleep(_EVERY_S)

    async def _sample_once(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap, request_timeout_ms=5_000)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await admin.start()
                for group in GROUPS:
                    for part, at in (await admin.list_consumer_group_offsets(group)).items():
                        if at.offset >= 0:
                            self._committed[group, part] = at.offset
                            self._record.offset(group, part.topic, part.partition, at.offset)
        finally:
            await admin.close()
