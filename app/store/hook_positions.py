"""How far each hook is in each partition of ``notify_lifecycle``, as ``tocsin_hook_positions`` has it.

What is remembered of a partition lies in the partition of the same number, and is read by whoever takes it over. Each
record is true by itself, so a late one of a former owner costs calls that are made again, and none that isn't made.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import structlog
from aiokafka import TopicPartition

from app.kafka.reading import open_reader, read_spans
from app.store.publisher import KafkaPublisher, Outgoing
from schemas.decode import Invalid
from schemas.hooks import HookPosition, encode_hook_record, read_hook_position
from schemas.topics import HOOK_POSITIONS

log = structlog.get_logger(__name__)


class Place(NamedTuple):
    """``stream``: a hook's id, or ``HOOK/REPLAY``."""

    stream: str
    partition: int


async def read_positions(client_options: Mapping[str, Any], partitions: Collection[int]) -> dict[Place, HookPosition]:
    """All that is remembered of these partitions. Raises KafkaError."""
    places = [TopicPartition(HOOK_POSITIONS, number) for number in sorted(partitions)]
    found: dict[Place, HookPosition] = {}
    async with open_reader(client_options) as consumer:
        starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        async for records in read_spans(consumer, {place: (starts[place], ends[place]) for place in places}):
            for record in records:
                _take(found, record)
    return found


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
