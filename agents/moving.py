"""Moving: a record that lies in another partition than its user's is produced again to its own."""

from collections.abc import Sequence

import structlog

from agents.desk import Desk
from agents.intakes import position_of
from app.domain.partition import partition_of
from app.ports import LogRecord

log = structlog.get_logger(__name__)

#: The header that says where a moved record lay at first, as ``topic:partition:offset``.
ORIGIN = "tocsin-origin"


def origin_of(record: LogRecord) -> str | None:
    """Where a moved record lay at first; None for one that wasn't moved."""
    if not record.headers:
        return None
    return next((value.decode() for name, value in record.headers if name == ORIGIN and value is not None), None)


def moved(desk: Desk, record: LogRecord, key: bytes) -> bool:
    """Moves the record if its key's partition is another one; librdkafka's default partitioner isn't Kafka's."""
    return moved_to(desk, record, partition_of(key, desk.partitions))


def moved_to(desk: Desk, record: LogRecord, partition: int) -> bool:
    if partition == desk.state.partition or partition >= desk.partitions:
        return False
    desk.out.moved += 1
    position = position_of(record)
    log.warning("a record lay in the wrong partition", action="moved", position=position, partition=partition)
    headers: Sequence[tuple[str, bytes | None]] = record.headers
    if origin_of(record) is None:
        headers = (*headers, (ORIGIN, position.encode()))
    desk.out.send(
        record.topic, record.key, record.value, partition=partition, timestamp_ms=record.timestamp, headers=headers
    )
    return True
