"""Pages of the audit log: whatever is asked for, all of it comes, newest first and once."""

import asyncio
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from app.kafka import reading
from app.store import audit_log
from app.store.audit_log import AuditLog, Wanted
from app.store.publisher import PublishError
from schemas.audit_log import AuditEntry, audit_entry, encode_audit_entry, read_audit_entry
from schemas.instants import rfc3339

NOON = 1_764_417_600_000
HOUR = 3_600_000


class Record(NamedTuple):
    offset: int
    timestamp: int
    value: bytes


class Log:
    """The topic: what Kafka's consumer is asked for, with clocks of its writers that differ by up to an hour."""

    def __init__(self, records: list[Record], start: int) -> None:
        self._records, self._start = records, start
        self._position = 0

    def __call__(self, *_: Any, **__: Any) -> "Log":
        return self

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self._start)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self._records[-1].offset + 1 if self._records else self._start)

    async def offsets_for_times(self, asked: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        return {at: next((r for r in self._records if r.timestamp >= ms), None) for at, ms in asked.items()}

    def assignment(self) -> set[TopicPartition]:
        return set()

    def assign(self, partitions: list[TopicPartition]) -> None: ...
    def resume(self, *partitions: TopicPartition) -> None: ...
    def pause(self, *partitions: TopicPartition) -> None: ...

    def seek(self, _: TopicPartition, offset: int) -> None:
        self._position = offset

    async def position(self, _: TopicPartition) -> int:
        return self._position

    async def getmany(
        self, at: TopicPartition, *, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Record]]:
        found = [record for record in self._records if record.offset >= self._position][: min(3, max_records)]
        self._position = found[-1].offset + 1 if found else 1 << 60
        return {at: found}


def records_of(entries: list[tuple[str, int]], start: int) -> list[Record]:
    return [
        Record(start + number, NOON + number * HOUR, encode_audit_entry(entry))
        for number, (action, late) in enumerate(entries)
        for entry in [audit_entry(rfc3339(NOON + number * HOUR - late), "ops", "here", action, str(number))]
    ]


def read_all(log: Log, limit: int, wanted: Wanted) -> list[AuditEntry]:
    async def read() -> list[AuditEntry]:
        found: list[AuditEntry] = []
        cursor: str | None = None
        for _ in range(200):
            entries, cursor = await AuditLog(None, {}, lambda: 0).newest(limit, cursor, wanted)  # type: ignore[arg-type]
            assert len(entries) <= limit
            found += entries
            if cursor is None:
                return found
        raise AssertionError("the pages have no end")

    return asyncio.run(read())


times = st.none() | st.integers(-2, 40).map(lambda hours: NOON + hours * HOUR)


@given(
    st.lists(st.tuples(st.sampled_from(["policy.put", "template.put", "template.delete"]), st.integers(0, HOUR))),
    st.integers(0, 5),
    st.integers(1, 4),
    st.integers(1, 7),
    st.builds(Wanted, st.sampled_from([None, "template", "policy.put"]), st.none(), times, times),
)
def test_all_that_is_asked_for_comes_once_and_newest_first(
    entries: list[tuple[str, int]], start: int, limit: int, looked_at: int, wanted: Wanted
) -> None:
    records = records_of(entries, start)
    with (
        patch.object(reading, "LogConsumer", Log(records, start)),
        patch.object(audit_log, "_MOST_LOOKED_AT", looked_at),
        patch.object(audit_log, "_PIECE", 2),
    ):
        found = read_all(Log(records, start), limit, wanted)

    assert found == [entry for record in reversed(records) if wanted.takes(entry := read_audit_entry(record.value))]


def test_what_cannot_be_read_is_passed_over() -> None:
    records = [Record(0, NOON, b"{"), *records_of([("policy.put", 0)], 1)]
    with patch.object(reading, "LogConsumer", Log(records, 0)):
        assert [entry.action for entry in read_all(Log(records, 0), 10, Wanted())] == ["policy.put"]


class Broken:
    async def publish(self, *_: Any) -> tuple[int, int]:
        raise PublishError("NotEnoughReplicasError")


async def test_an_entry_that_is_not_acknowledged_is_an_error() -> None:
    with pytest.raises(PublishError):
        await AuditLog(Broken(), {}, lambda: NOON).enter("ops", "here", "policy.put", "x")
