"""How far the commands reach: the end of notify_commands, asked after a batch was fetched.

A command acknowledged before a request was produced is in force for that request, so a request is judged only when
the partition's commands have been handled up to an end offset that was asked for after the request was fetched.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

log = structlog.get_logger(__name__)

_AGAIN_S = 0.5


class CommandsHorizon:
    """Asks Kafka for end offsets, one request at a time for all partitions that want to know."""

    def __init__(self, client_options: Mapping[str, Any], topic: str) -> None:
        self._options = dict(client_options)
        self._topic = topic
        self._consumer: AIOKafkaConsumer | None = None
        self._wanted: set[int] = set()
        self._next: asyncio.Task[dict[int, int]] | None = None
        self._asking = asyncio.Lock()

    async def start(self) -> None:
        self._consumer = AIOKafkaConsumer(**self._options, group_id=None)
        await self._consumer.start()

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def end(self, partition: int) -> int:
        """The partition's end offset as of some moment after this call began."""
        self._wanted.add(partition)
        if self._next is None:
            self._next = asyncio.create_task(self._ask())
        return (await asyncio.shield(self._next))[partition]

    async def ends(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        """Where the partition of these topics ends, as of some moment after this call began. Raises KafkaError."""
        assert self._consumer is not None
        ends = await self._consumer.end_offsets([TopicPartition(topic, partition) for topic in topics])
        return {tp.topic: offset for tp, offset in ends.items()}

    async def _ask(self) -> dict[int, int]:
        assert self._consumer is not None
        async with self._asking:
            # Whoever comes from here on needs an answer to a later question.
            wanted, self._wanted, self._next = self._wanted, set(), None
            while True:
                try:
                    ends = await self._consumer.end_offsets([TopicPartition(self._topic, p) for p in wanted])
                except KafkaError as error:
                    # A broker that is away for a while is no reason to lose what is in memory.
                    log.warning("the end of the commands is not known yet, asked again", error=repr(error))
                    await asyncio.sleep(_AGAIN_S)
                else:
                    return {tp.partition: offset for tp, offset in ends.items()}
