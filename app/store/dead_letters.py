"""Reading notify_dead without a group: the newest letters, page by page."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from schemas.dead import DeadLetter, read_dead
from schemas.decode import Invalid
from schemas.topics import DEAD

_POLL_MS = 500


class Letter(NamedTuple):
    """A dead letter and where it lies."""

    partition: int
    offset: int
    letter: DeadLetter


class DeadLetters:
    """Opens a consumer for each page: few ask, and seldom. Raises KafkaError."""

    def __init__(self, client_options: Mapping[str, Any]) -> None:
        self._options = client_options

    async def newest(self, limit: int, cursor: str | None = None) -> tuple[list[Letter], str | None]:
        """At most ``limit`` letters, newest first, and where to go on (None: there are no older ones).

        Raises ValueError for a cursor that isn't one of ours.
        """
        before = _ends_in(cursor)
        consumer = AIOKafkaConsumer(DEAD, **self._options, group_id=None, enable_auto_commit=False)
        await consumer.start()
        try:
            return await _page(consumer, limit, before)
        finally:
            await consumer.stop()


async def _page(
    consumer: AIOKafkaConsumer, limit: int, before: Mapping[int, int] | None
) -> tuple[list[Letter], str | None]:
    partitions = sorted(consumer.assignment())
    starts = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    if before is not None:
        ends = {at: min(end, before.get(at.partition, end)) for at, end in ends.items()}
    found: list[ConsumerRecord] = []
    for at in partitions:
        found += await _last(consumer, at, max(starts[at], ends[at] - limit), ends[at])
    found.sort(key=lambda record: (record.timestamp, record.partition, record.offset), reverse=True)
    page = found[:limit]
    left = {at.partition: end for at, end in ends.items()}
    left |= {record.partition: record.offset for record in page}
    more = any(left[at.partition] > start for at, start in starts.items())
    return [letter for record in page if (letter := _letter(record))], _cursor(left) if more else None


async def _last(consumer: AIOKafkaConsumer, at: TopicPartition, start: int, end: int) -> list[ConsumerRecord]:
    consumer.seek(at, start)
    records: list[ConsumerRecord] = []
    while await consumer.position(at) < end:
        read = await consumer.getmany(at, timeout_ms=_POLL_MS)
        records += [record for record in read.get(at, ()) if record.offset < end]
    return records


def _letter(record: ConsumerRecord) -> Letter | None:
    try:
        return Letter(record.partition, record.offset, read_dead(record.value or b""))
    except Invalid:
        return None


def _cursor(ends: Mapping[int, int]) -> str:
    return urlsafe_b64encode(msgspec.json.encode(ends)).decode().rstrip("=")


def _ends_in(cursor: str | None) -> dict[int, int] | None:
    if cursor is None:
        return None
    try:
        ends: dict[int, int] = msgspec.json.decode(
            urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=dict[int, int]
        )
        return ends
    except (ValueError, msgspec.MsgspecError):
        raise ValueError("not a cursor that was handed out") from None
