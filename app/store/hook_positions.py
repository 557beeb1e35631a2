"""How far each hook is in each partition of ``notify_lifecycle``, as ``tocsin_hook_positions`` has it.

What is remembered of a partition lies in the partition of the same number, and is read by whoever takes it over. Each
record is true by itself, so a late one of a former owner costs calls that are made again, and none that isn't made.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import structlog
from aiokafka import TopicPartition

from app.kafka.consumers import LogConsumer
from app.store.publisher import KafkaPublisher, Outgoing
from schemas.decode import Invalid
from schemas.hooks import HookPosition, encode_hook_record, read_hook_position
from schemas.topics import HOOK_POSITIONS

log = structlog.get_logger(__name__)

_POLL_MS = 500


class Place(NamedTuple):
    """``stream``: a hook's id, or ``HOOK/REPLAY``."""

    stream: str
    partition: int


async def read_positions(client_options: Mapping[str, Any], partitions: Collection[int]) -> dict[Place, HookPosition]:
    """All that is remembered of these partitions. Raises KafkaError."""
    consumer = LogConsumer(**client_options, group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = [TopicPartition(HOOK_POSITIONS, number) for number in sorted(partitions)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        found: dict[Place, HookPosition] = {}
        for place in places:
            while await consumer.position(place) < ends[place]:
                for record in (await consumer.getmany(place, timeout_ms=_POLL_MS)).get(place, ()):
                    _take(found, record)
        return found
    finally:
        await consumer.stop()


def _take(found: dict[Place, HookPosition], record: Any) -> None:
    place = Place((record.key or b"").decode(errors="replace"), record.partition)
    if record.value is None:
        found.pop(place, None)
        return
    try:
        found[place] = read_hook_position(record.value)
    except Invalid as invalid:
        log.warning("can't read a hook's position", offset=record.offset, reason=str(invalid))


async def write_positions(publisher: KafkaPublisher, positions: Mapping[Place, HookPosition | None]) -> None:
    """None: nothing is remembered any more. Raises PublishError."""
    records = [
        Outgoing(
            HOOK_POSITIONS,
            place.stream.encode(),
            None if position is None else encode_hook_record(position),
            place.partition,
        )
        for place, position in positions.items()
    ]
    if records:
        await publisher.publish_many(records)
