"""Reading what a replay needs of the log: within offsets, without a group, a few hundred records at a time."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TypeVar

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from app.kafka.consumers import LogConsumer
from app.replay.candidates import AT_ONCE, first_accepted
from schemas.decode import Invalid
from schemas.replays import ReplayRequest, read_replay_request
from schemas.topics import REPLAY_REQUESTS

T = TypeVar("T")

_POLL_MS = 500


async def spans_since(
    consumer: LogConsumer, places: Sequence[TopicPartition], since_ms: int
) -> dict[TopicPartition, tuple[int, int]]:
    """From the first record of that time on (Unix ms) up to the end as it is now, of each that has any."""
    first = await consumer.offsets_for_times(dict.fromkeys(places, since_ms))
    ends = await consumer.end_offsets(places)
    starts = {place: found.offset if (found := first[place]) else ends[place] for place in places}
    return {place: (starts[place], ends[place]) for place in places if starts[place] < ends[place]}


def decoded(records: Sequence[ConsumerRecord], read: Callable[[bytes], T]) -> list[T]:
    """Those that can be read."""
    found = []
    for record in records:
        if record.value is None:
            continue
        try:
            found.append(read(record.value))
        except Invalid:
            continue
    return found


async def counted_requests(
    consumer: LogConsumer, replay_id: str, spans: Mapping[TopicPartition, tuple[int, int]]
) -> AsyncIterator[list[ReplayRequest]]:
    """The candidates of a replay as they were asked about first, oldest first, a few hundred at a time."""
    if not spans:
        return
    consumer.assign(list(spans))
    for place, (start, _) in spans.items():
        consumer.seek(place, start)
    waiting: dict[TopicPartition, deque[ReplayRequest]] = {place: deque() for place in spans}
    unread = set(spans)
    batch: list[ReplayRequest] = []
    while True:
        while dry := [place for place in unread if not waiting[place]]:
            fetched = await consumer.getmany(*dry, timeout_ms=_POLL_MS, max_records=AT_ONCE)
            for place, records in fetched.items():
                within = [each for each in records if each.offset < spans[place][1]]
                asked = decoded(within, read_replay_request)
                waiting[place].extend(each for each in asked if each.dry_run and each.replay_id == replay_id)
            for place in dry:
                if await consumer.position(place) >= spans[place][1]:
                    unread.discard(place)
        heads = [(first_accepted(queue[0].send), place) for place, queue in waiting.items() if queue]
        if heads:
            _, place = min(heads)
            batch.append(waiting[place].popleft())
        if batch and (not heads or len(batch) >= AT_ONCE):
            yield batch
            batch = []
        if not heads:
            return


def request_spans(begin: Sequence[int], end: Sequence[int]) -> dict[TopicPartition, tuple[int, int]]:
    """Where the candidates of a replay lie."""
    spans = zip(begin, end, strict=True)
    return {TopicPartition(REPLAY_REQUESTS, n): (start, stop) for n, (start, stop) in enumerate(spans) if start < stop}
