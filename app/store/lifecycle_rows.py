"""A record of ``notify_lifecycle`` as a row of ``notify.lifecycle``, or why it can't be one."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from app.domain.outcome import ANSWERS
from app.failures import RateLimitedLog
from app.kafka.records import Unreadable
from app.ports import Guard, LogRecord, Poison, Unguarded
from schemas.decode import Invalid
from schemas.instants import parse_ms
from schemas.lifecycle import CAME_BACK, LifecycleEvent, read_lifecycle

#: The columns that the event fills, named as its fields.
EVENT_COLUMNS: tuple[str, ...] = LifecycleEvent.__struct_fields__
COLUMNS = (*EVENT_COLUMNS, "recorded_at", "topic_partition", "topic_offset", "cap", "machine", "answer")

Row = tuple[Any, ...]
_OCCURRED = COLUMNS.index("occurred_at")
Record = TypeVar("Record", bound=LogRecord)

_UINT32_FIELDS = ("attempt", "template_version", "policy_version")
#: DateTime64 ends in 2299; TTL computes with DateTime, which ends in 2106.
_LAST_MS = parse_ms("2106-01-01T00:00:00Z")

#: What may lie between an event and its record: a receipt is taken up to 30 days late, clocks differ.
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_EARLIEST_MS, _LATEST_MS = 31 * _DAY_MS, _DAY_MS

_encode = msgspec.json.Encoder().encode

#: Whether what was recorded of a user at a moment (Unix ms) is to be left out.
Hides = Callable[[str, int], bool]


def nobody(user_id: str, at_ms: int) -> bool:
    return False


def row_of(record: LogRecord, hides: Hides = nobody) -> Row:
    """The values of ``COLUMNS``, instants in Unix milliseconds. ``hides``: of which users only the pseudonymous id may
    be kept. Raises Invalid for what no row can hold."""
    event = read_lifecycle(record.value or b"")
    if record.key != event.user_id.encode():
        raise Invalid("isn't the record's key", "user_id")
    for name in _UINT32_FIELDS:
        number = getattr(event, name)
        if number is not None and not 0 <= number < 2**32:
            raise Invalid("isn't an unsigned number of 32 bits", name)
    occurred_ms = _occurred_ms(event.occurred_at)
    recorded_ms = record.timestamp if 0 < record.timestamp < _LAST_MS else occurred_ms
    detail = event.detail
    cap = detail.get("cap") if detail is not None else None
    machine = detail is not None and detail.get("machine") is True
    answer = _answer(detail) if event.status == "retrying" else ""
    if not recorded_ms - _EARLIEST_MS <= occurred_ms <= recorded_ms + _LATEST_MS:
        # A day of its own for each such event would be a partition of its own: thousands of parts from one insert.
        # To the hour, so that an event which is written again a moment later is the same row.
        occurred_ms, detail = recorded_ms // _HOUR_MS * _HOUR_MS, {**(detail or {}), "claimed_at": event.occurred_at}
    if hides(event.user_id, recorded_ms):
        event, detail = redacted(event), None
    return (
        event.event_id,
        event.notification,
        *msgspec.structs.astuple(event)[2:-2],
        occurred_ms,
        None if detail is None else _encode(detail).decode(),
        recorded_ms,
        record.partition,
        record.offset,
        cap if isinstance(cap, str) else None,
        machine,
        answer,
    )


def _answer(detail: dict[str, Any] | None) -> str:
    """What made a send be tried again, by the trail of ``retrying`` (app/domain/outcome.py, ``Answer``)."""
    trail = (detail or {}).get("trail")
    match trail:
        case [["answer", _, str(kind), *_], *_] if kind in ANSWERS:
            return kind
    return ""


def redacted(event: LifecycleEvent) -> LifecycleEvent:
    """Without what came of the user, as ``sql/redact.sql`` does it with rows that are there."""
    kept = event.status == "bounced" or event.status not in (*CAME_BACK, "device_retired")
    reason = event.reason if kept else None
    return msgspec.structs.replace(event, provider_message_id=None, reason=reason)


class Refusal(NamedTuple):
    """Why a record can't be a row; ``code`` as dead letters have it."""

    code: str
    reason: str
    field: str | None = None


def read_rows(
    records: Iterable[Record], hides: Hides = nobody, guard: Guard | None = None
) -> tuple[list[Row], list[tuple[Record, Refusal]], int]:
    """The rows, the records that can't be one, and how many had no value. Whatever a record holds, the others are
    rows. ``guard``: of what has ended process after process."""
    guard = guard or Unguarded()
    rows: list[Row] = []
    refused: list[tuple[Record, Refusal]] = []
    empty = 0
    for record in records:
        if isinstance(record, Unreadable):
            refused.append((record, Refusal(record.code, record.reason)))
            continue
        if record.value is None:
            empty += 1
            continue
        try:
            guard.record(record)
            rows.append(row_of(record, hides))
        except Invalid as error:
            refused.append((record, Refusal(error.code, error.reason, error.field)))
        except Poison as poison:
            refused.append((record, Refusal("poison", str(poison))))
        except Exception as error:
            refused.append((record, failure(error)))
            _failures.log("an event could not be read", error, time.time_ns() // 1_000_000, offset=record.offset)
        finally:
            guard.end()
    return rows, refused, empty


_failures = RateLimitedLog()


def failure(error: Exception) -> Refusal:
    """A fault of ours, whatever of the record it comes of."""
    return Refusal("internal", f"internal error: {type(error).__name__}")


def by_day(rows: Sequence[Row], most: int) -> list[list[Row]]:
    """The rows in groups that hold at most so many days each, the latest first, for that is what is waited for."""
    days: dict[int, list[Row]] = {}
    for row in rows:
        days.setdefault(row[_OCCURRED] // _DAY_MS, []).append(row)
    if len(days) <= most:
        return [list(rows)]
    latest = sorted(days, reverse=True)
    return [[row for day in latest[at : at + most] for row in days[day]] for at in range(0, len(latest), most)]


def _occurred_ms(text: str) -> int:
    try:
        ms = parse_ms(text)
    except ValueError:
        raise Invalid("isn't an RFC 3339 instant", "occurred_at") from None
    if not 0 <= ms < _LAST_MS:
        raise Invalid("is before 1970 or after 2105", "occurred_at")
    return ms


def batch_token(topic: str, ranges: Sequence[tuple[LogRecord, LogRecord]]) -> str:
    """Names a batch by what it was read from, so that ClickHouse drops an insert that it has already taken.

    ``ranges``: the first and the last record of each partition. Their times tell offsets of a topic that was made anew
    from those of its predecessor.
    """
    parts = (f"{a.partition}:{a.offset}-{b.offset}@{a.timestamp}-{b.timestamp}" for a, b in ranges)
    return f"{topic} {' '.join(sorted(parts))}"
