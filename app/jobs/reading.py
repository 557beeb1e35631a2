"""Reading the log for a job: within offsets, without a group."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import TopicPartition

from app.kafka.consumers import LogConsumer

#: Everything that is read is there already. A broker answers a connection's requests one after the other: whatever is
#: asked next would wait for as long as a fetch at the end of a partition does.
_FETCH_WAIT_MS = 10


@asynccontextmanager
async def open_reader(client_options: Mapping[str, Any]) -> AsyncIterator[LogConsumer]:
    """For one reading: it goes on fetching for as long as it is open."""
    consumer = LogConsumer(
        **client_options, group_id=None, auto_offset_reset="earliest", fetch_max_wait_ms=_FETCH_WAIT_MS
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def ends_of(consumer: LogConsumer, topic: str, partitions: int) -> tuple[int, ...]:
    """The end offset of each partition."""
    places = [TopicPartition(topic, number) for number in range(partitions)]
    ends = await consumer.end_offsets(places)
    return tuple(ends[place] for place in places)
