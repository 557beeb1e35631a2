"""A record of ``notify_lifecycle`` as a row of ``notify.lifecycle``, or why it can't be one."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from app.kafka.records import Unreadable
from app.ports import LogRecord
from schemas.decode import Invalid, Undecodable
from schemas.instants import parse_ms
from schemas.lifecycle import LifecycleEvent, read_lifecycle

#: The columns that the event fills, named as its fields.
EVENT_COLUMNS: tuple[str, ...] = LifecycleEvent.__struct_fields__
COLUMNS = (*EVENT_COLUMNS, "recorded_at", "topic_partition", "topic_offset")

Row = tuple[Any, ...]
Record = TypeVar("Record", bound=LogRecord)

_UINT32_FIELDS = ("attempt", "template_version", "policy_version")
#: DateTime64 ends in 2299; TTL computes with DateTime, which ends in 2106.
_LAST_MS = parse_ms("2106-01-01T00:00:00Z")

_encode = msgspec.json.Encoder().encode


def row_of(record: LogRecord) -> Row:
    """The values of ``COLUMNS``, instants in Unix milliseconds. Raises Invalid for what no row can hold."""
    event = read_lifecycle(record.value or b"")
    if record.key != event.user_id.encode():
        raise Invalid("isn't the record's key", "user_id")
    for name in _UINT32_FIELDS:
        number = getattr(event, name)
        if number is not None and not 0 <= number < 2**32:
            raise Invalid("isn't an unsigned number of 32 bits", name)
    return (
        *msgspec.structs.astuple(event)[:-2],
        _occurred_ms(event.occurred_at),
        None if event.detail is None else _encode(event.detail).decode(),
        record.timestamp,
        record.partition,
        record.offset,
    )


def read_rows(records: Iterable[Record]) -> tuple[list[Row], list[tuple[Record, Invalid]], int]:
    """The rows, the records that can't be one, and how many had no value."""
    rows: list[Row] = []
    refused: list[tuple[Record, Invalid]] = []
    empty = 0
    for record in records:
        if isinstance(record, Unreadable):
            refused.append((record, Undecodable(record.reason)))
            continue
        if record.value is None:
            empty += 1
            continue
        try:
            rows.append(row_of(record))
        except Invalid as error:
            refused.append((record, error))
    return rows, refused, empty


def _occurred_ms(text: str) -> int:
    try:
        ms = parse_ms(text)
    except ValueError:
        raise Invalid("isn't an RFC 3339 instant", "occurred_at") from None
    if not 0 <= ms < _LAST_MS:
        raise Invalid("lies before 1970 or after 2105", "occurred_at")
    return ms


def batch_token(topic: str, ranges: Sequence[tuple[LogRecord, LogRecord]]) -> str:
    """Names a batch by what it was read from, so that ClickHouse drops an insert that it has already taken.

    ``ranges``: the first and the last record of each partition. Their times tell offsets of a topic that was made anew
    from those of its predecessor.
    """
    parts = (f"{a.partition}:{a.offset}-{b.offset}@{a.timestamp}-{b.timestamp}" for a, b in ranges)
    return f"{topic} {' '.join(sorted(parts))}"
