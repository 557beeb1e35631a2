"""Where notify_commands ends, as of a moment after a batch was read from the log.

A command acknowledged before a request was produced is in force for that request, so a request is evaluated only when
the partition's commands have been handled up to an end offset that was read after the request was. Mostly the fetch
that brought the request reports one, else Kafka is asked (docs/decisions/0006-fetches-tell-the-commands-end.md).
"""

import asyncio
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

log = structlog.get_logger(__name__)

_AGAIN_S = 0.5


class EndOffset(NamedTuple):
    """The commands' end in a partition, and a moment before it was read, by two clocks: all that was written up to then
    lies before that end.

    ``since``: Unix ms, of a clock that may be set; ``fresh_since``: seconds of one that nobody sets. Only the two of
    them tell how old this is: the first if the machine stood still, the second if the first was set back.
    """

    end: int
    since: int
    fresh_since: float = math.inf


class Known:
    """How far one partition's commands go, and for which of its fetches, numbered one after the other, that is enough.

    What a fetch reports is enough for itself; what was asked, for all before the question.
    """

    def __init__(self) -> None:
        self.end = -1
        #: All commands up to then are known, Unix ms.
        self.since = -1
        #: The same by the clock that nobody sets, in seconds.
        self.fresh_since = -math.inf
        self._reported = -1
        self._asked = -1
        self._unreported = -1

    @property
    def fetches(self) -> int:
        """The number of the fetch up to which the end is enough for each."""
        return max(self._asked, self._reported) if self._unreported <= self._asked else self._asked

    def report(self, fetch: int, end_offset: EndOffset | None) -> None:
        """What the next fetch reported, if anything."""
        if end_offset is None:
            self._unreported = fetch
        else:
            self._reported = fetch
            self.end, self.since, self.fresh_since = (
                max(self.end, end_offset.end),
                end_offset.since,
                end_offset.fresh_since,
            )

    def answer(self, fetches: int, end_offset: EndOffset) -> None:
        """What was asked for after so many fetches."""
        self._asked = fetches
        latest = fetches >= max(self._reported, self._unreported)
        self.end = end_offset.end if latest else max(self.end, end_offset.end)
        self.since, self.fresh_since = end_offset.since, end_offset.fresh_since


class CommandsEndOffsets:
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
                    log.warning("can't get the end offset of the commands: retrying", error=repr(error))
                    await asyncio.sleep(_AGAIN_S)
                else:
                    return {tp.partition: offset for tp, offset in ends.items()}
