"""Reading a part of the log once: between offsets that are known, without a group."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from app.kafka.consumers import LogConsumer

#: By partition: the first offset that is read, and the one after the last.
Spans = Mapping[TopicPartition, tuple[int, int]]

#: Everything that is read is there already. A broker answers a connection's requests one after the other: whatever is
#: asked next would wait for as long as a fetch at the end of a partition does.
_FETCH_WAIT_MS = 10
_POLL_MS, _AT_ONCE = 500, 500


@asynccontextmanager
async def open_reader(client_options: Mapping[str, Any], *topics: str) -> AsyncIterator[LogConsumer]:
    """For one reading: what it fetches, it goes on fetching for as long as it is open. It is assigned every partition
    of ``topics``, and fetches none of them by itself."""
    consumer = LogConsumer(
        *topics, **client_options, group_id=None, auto_offset_reset="earliest", fetch_max_wait_ms=_FETCH_WAIT_MS
    )
    try:
        await consumer.start()
        consumer.pause(*consumer.assignment())
        yield consumer
    finally:
        await consumer.stop()


async def ends_of(consumer: LogConsumer, topic: str, partitions: int) -> tuple[int, ...]:
    """The end offset of each partition."""
    places = [TopicPartition(topic, number) for number in range(partitions)]
    ends = await consumer.end_offsets(places)
    return tuple(ends[place] for place in places)


async def read_spans(
    consumer: LogConsumer, spans: Spans, at_once: int = _AT_ONCE
) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """Every record in these spans, those of a partition in order, at most ``at_once`` at a time. All partitions are
    fetched together, and none any more once it is read: a fetch at its end would hold up the others."""
    left = {place for place, (start, end) in spans.items() if start < end}
    if not left:
        return
    if not left <= consumer.assignment():
        consumer.assign(list(left))
    for place in left:
        consumer.seek(place, spans[place][0])
        consumer.resume(place)
    while left:
        fetched = await consumer.getmany(*left, timeout_ms=_POLL_MS, max_records=at_once)
        for place, records in fetched.items():
            yield [record for record in records if record.offset < spans[place][1]]
        for place in list(left):
            if await consumer.position(place) >= spans[place][1]:
                left.discard(place)
                consumer.pause(place)
