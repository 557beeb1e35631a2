"""Produces a record that lies in another partition than its user's to its own."""

import structlog

from agents.router.context import RouterContext
from agents.shared.subscriptions import position_of
from app.domain import origin
from app.domain.partition import partition_of
from app.ports import LogRecord

log = structlog.get_logger(__name__)


def origin_of(context: RouterContext, record: LogRecord) -> str | None:
    """Where a moved record lay at first; None for one that wasn't moved, or whose header isn't ours."""
    if not record.headers:
        return None
    return origin.origin_of(context.secret, record.key, record.value, record.headers)


def moved(context: RouterContext, record: LogRecord, key: bytes) -> bool:
    """Moves the record if its key's partition is another one; librdkafka's default partitioner isn't Kafka's."""
    return moved_to(context, record, partition_of(key, context.partitions))


def moved_to(context: RouterContext, record: LogRecord, partition: int) -> bool:
    if partition == context.state.partition or partition >= context.partitions:
        return False
    context.out.moved += 1
    position = position_of(record)
    log.warning("a record lay in the wrong partition", action="moved", position=position, partition=partition)
    headers = origin.without_origin(record.headers)
    first = origin_of(context, record) or position
    signed = origin.signed_origin(context.secret, first, record.key, record.value, headers)
    context.out.send(
        record.topic,
        record.key,
        record.value,
        partition=partition,
        timestamp_ms=record.timestamp,
        headers=[*headers, (origin.ORIGIN, signed)],
    )
    return True
