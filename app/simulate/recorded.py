"""What the router read of the log in a range of time, partition by partition, in the order of the records' times."""

from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from app.kafka.consumers import LogConsumer
from schemas.topics import (
    BROADCASTS,
    COMMANDS,
    EVENT_TOPICS,
    EVENTS,
    EVENTS_BULK,
    EVENTS_CRITICAL,
    RECEIPTS,
    RESULTS,
    VERIFICATIONS,
)

#: At the same time, what comes first (as a runner draws).
_DRAWN = (COMMANDS, BROADCASTS, EVENTS_CRITICAL, VERIFICATIONS, RESULTS, RECEIPTS, EVENTS, EVENTS_BULK)
_ORDER = {topic: place for place, topic in enumerate(_DRAWN)}
#: Read from their beginning, for what was known at the start of the range.
_KNOWN = (COMMANDS, BROADCASTS)

_POLL_MS = 500
_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class Span:
    """Of one topic's partition: offsets from ``start`` up to, not including, ``end``."""

    start: int
    end: int


class Recorded:
    """Reads without a group, and writes nothing. Raises KafkaError, LookupError where a topic is missing.

    Commands and broadcasts are read from their beginning, for what was known at the range's start; all others from its
    start. Records that were appended before the first one of a later time belong to the range.
    """

    def __init__(self, client_options: Mapping[str, Any], partitions: int, from_ms: int, to_ms: int) -> None:
        self._options = client_options
        self._from_ms, self._to_ms = from_ms, to_ms
        self._consumer: LogConsumer | None = None
        self._spans: dict[TopicPartition, Span] = {}
        self._partitions = partitions

    async def start(self) -> None:
        """Opens the consumer and finds where the range lies in each partition."""
        self._consumer = await open_reader(self._options)
        there = await self._consumer.topics()
        for topic in _ORDER:
            if topic not in there:
                raise LookupError(f"topic {topic} is missing: run `tocsin topics apply`")
        places = [TopicPartition(topic, number) for topic in _ORDER for number in range(self._partitions)]
        begins = await self._consumer.beginning_offsets(places)
        ends = await self._consumer.end_offsets(places)
        first = await self._consumer.offsets_for_times(dict.fromkeys(places, self._from_ms))
        after = await self._consumer.offsets_for_times(dict.fromkeys(places, self._to_ms))
        for place in places:
            end = min(after[place].offset, ends[place]) if after[place] else ends[place]
            start = first[place].offset if first[place] else ends[place]
            self._spans[place] = Span(begins[place] if place.topic in _KNOWN else min(start, end), end)

    async def close(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    @property
    def total(self) -> int:
        """How many offsets there are to read."""
        return sum(span.end - span.start for span in self._spans.values())

    @property
    def requests(self) -> int:
        """How many offsets of requests the range has."""
        return sum(span.end - span.start for place, span in self._spans.items() if place.topic in EVENT_TOPICS)

    async def read(self, partition: int) -> AsyncIterator[tuple[int, ConsumerRecord]]:
        """Every record of the partition with the time (Unix ms) at which it is to be handled, which never goes back."""
        consumer = self._consumer
        assert consumer is not None
        spans = {at: s for at, s in self._spans.items() if at.partition == partition and s.start < s.end}
        consumer.assign(list(spans))
        for place, span in spans.items():
            consumer.seek(place, span.start)
        waiting: dict[TopicPartition, deque[ConsumerRecord]] = {place: deque() for place in spans}
        unread = set(spans)
        clocks = dict.fromkeys(spans, 0)
        now = 0
        while True:
            while dry := [place for place in unread if not waiting[place]]:
                await _fill(consumer, dry, waiting, spans, unread)
            heads = [(max(clocks[at], q[0].timestamp), _ORDER[at.topic], at) for at, q in waiting.items() if q]
            if not heads:
                return
            moment, _, place = min(heads)
            clocks[place] = moment
            now = max(now, moment)
            yield now, waiting[place].popleft()


async def open_reader(client_options: Mapping[str, Any]) -> LogConsumer:
    """A started consumer of no group."""
    consumer = LogConsumer(**client_options, group_id=None, auto_offset_reset="earliest")
    try:
        await consumer.start()
    except BaseException:
        await consumer.stop()
        raise
    return consumer


async def _fill(
    consumer: LogConsumer,
    dry: list[TopicPartition],
    waiting: Mapping[TopicPartition, deque[ConsumerRecord]],
    spans: Mapping[TopicPartition, Span],
    unread: set[TopicPartition],
) -> None:
    fetched = await consumer.getmany(*dry, timeout_ms=_POLL_MS, max_records=_AT_ONCE)
    for place, records in fetched.items():
        waiting[place].extend(record for record in records if record.offset < spans[place].end)
    for place in dry:
        if await consumer.position(place) >= spans[place].end:
            unread.discard(place)
