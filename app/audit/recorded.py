"""Reads parts of topics once, from one position to another, in memory that doesn't grow with them."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from app.kafka.consumers import LogConsumer

#: What is fetched of a partition at once, unless one batch is larger.
_FETCH_BYTES = 1 << 20
_POLL_MS, _AT_ONCE = 500, 2_000


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets of one partition, ``end`` not included. ``begin``: the first that the topic still holds."""

    start: int
    end: int
    begin: int = 0


@asynccontextmanager
async def log_reader(client_options: Mapping[str, Any], **more: Any) -> AsyncIterator[LogConsumer]:
    """A consumer of no group that reads what was committed. Raises KafkaError."""
    options = {"auto_offset_reset": "earliest", "max_partition_fetch_bytes": _FETCH_BYTES, **more}
    consumer = LogConsumer(**client_options, group_id=None, **options)
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def check_topics(consumer: LogConsumer, topics: Sequence[str]) -> None:
    """Raises LookupError for one that isn't there."""
    there = await consumer.topics()
    for topic in topics:
        if topic not in there:
            raise LookupError(f"topic {topic} is missing: run `tocsin topics apply`")


async def spans_of(
    consumer: LogConsumer, topic: str, partitions: int, from_ms: int | None = None
) -> dict[TopicPartition, Span]:
    """Each partition of the topic, from the first record that is at least of ``from_ms`` (Unix ms) to its end now."""
    places = [TopicPartition(topic, number) for number in range(partitions)]
    begins = await consumer.beginning_offsets(places)
    ends = await consumer.end_offsets(places)
    starts = dict(begins)
    if from_ms is not None and from_ms > 0:
        found = await consumer.offsets_for_times(dict.fromkeys(places, from_ms))
        starts = {place: found[place].offset if found[place] else ends[place] for place in places}
    return {place: Span(min(starts[place], ends[place]), ends[place], begins[place]) for place in places}


async def read_spans(
    consumer: LogConsumer, spans: Mapping[TopicPartition, Span], progress: Callable[[int], None] = lambda offsets: None
) -> AsyncIterator[tuple[TopicPartition, list[ConsumerRecord]]]:
    """All records of the spans, each partition's in order. ``progress`` is called with the offsets that were passed."""
    left = {place: span for place, span in spans.items() if span.start < span.end}
    consumer.assign(list(left))
    at = {place: span.start for place, span in left.items()}
    for place, offset in at.items():
        consumer.seek(place, offset)
    while left:
        fetched = await consumer.getmany(*left, timeout_ms=_POLL_MS, max_records=_AT_ONCE)
        for place, records in fetched.items():
            yield place, [record for record in records if record.offset < spans[place].end]
        for place, span in list(left.items()):
            position = min(await consumer.position(place), span.end)
            progress(position - at[place])
            at[place] = position
            if position >= span.end:
                del left[place]
                consumer.pause(place)


def total(spans: Mapping[TopicPartition, Span]) -> int:
    return sum(span.end - span.start for span in spans.values())
