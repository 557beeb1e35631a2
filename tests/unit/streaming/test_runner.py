"""The runner of a partition: what waits and can't be taken yet never keeps the process from its other work."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from app.ports import Urgency
from app.streaming.restoring import Committed, Owed
from app.streaming.runner import PartitionRunner, Parts
from tables.rows import MemoryRows
from tables.schedule import SCHEDULE, Due, Schedule

NOW = 1_000_000


class State:
    def __init__(self, rows: MemoryRows) -> None:
        self.schedule = Schedule(SCHEDULE, rows)

    def tables(self) -> list[Any]:
        return [self.schedule]


class Timers:
    """A machine that only wakes."""

    role = "timers"
    intakes = ()
    tables = ("schedule",)

    def __init__(self) -> None:
        self.woken = asyncio.Event()

    def open(self, rows: MemoryRows, partition: int) -> State:
        return State(rows)

    def wake(self, due_key: bytes, due: Due, state: State, out: Any, now: int) -> None:
        self.woken.set()


class Lane:
    """A performer whose calls in hand may fill it."""

    free = 0
    asked = 0

    def room(self, urgency: Urgency) -> int:
        self.asked += 1
        if self.asked > 1_000:
            raise RuntimeError("asked again and again, and nobody else had a turn")
        return self.free


class Nothing:
    """Kafka's part: nothing committed, nothing to restore; what is produced is acknowledged."""

    async def restore(self, *_: Any) -> int:
        return 0

    async def owed(self, *_: Any) -> Owed:
        return Owed([], {})

    async def committed(self, partition: int) -> dict[str, Committed]:
        return {}

    def note(self, partition: int, positions: Mapping[str, int], journal_offset: int | None) -> None: ...

    async def append(self, topic: str, partition: int, value: bytes) -> int:
        return 0

    async def produce(self, records: Any, partition: int) -> dict[tuple[str, int], int]:
        return {(record.topic, partition): 1 for record in records}


class Store(MemoryRows):
    """In memory, and written as a store is."""

    def write(self, changes: Any, offsets: Any = None, journal_offset: int | None = None) -> None:
        for table, rows in changes.items():
            super().write(table, rows)


@pytest.fixture
async def full() -> AsyncIterator[tuple[Timers, Lane, PartitionRunner]]:
    """A runner with a row that is due, on a lane that has no room for the calls that it might bring."""
    rows, machine, lane, kafka = Store(), Timers(), Lane(), Nothing()
    schedule = Schedule(SCHEDULE, rows)
    schedule.at(NOW - 1, Due("retry", "ada", b"send"))
    rows.write({"schedule": schedule.changes()})
    crashed: list[BaseException] = []
    parts: Any = Parts(
        machine=machine,  # type: ignore[arg-type]
        producer=kafka,  # type: ignore[arg-type]
        restorer=kafka,  # type: ignore[arg-type]
        horizon=kafka,  # type: ignore[arg-type]
        positions=kafka,
        clock=lambda: NOW,
        performer=lane,  # type: ignore[arg-type]
        crash=crashed.append,
        pause=lambda topic, partition: None,
        resume=lambda topic, partition: None,
        counted=lambda name, count: None,
    )
    runner = PartitionRunner(0, rows, parts)  # type: ignore[arg-type]
    runner.start()
    yield machine, lane, runner
    await runner.drain(1.0)
    assert crashed == []


async def test_a_timer_that_is_due_with_no_room_for_calls_lets_the_calls_in_hand_end(
    full: tuple[Timers, Lane, PartitionRunner],
) -> None:
    machine, lane, runner = full
    await runner.ready.wait()
    await asyncio.sleep(0)  # another task's turn: it comes only if the runner pauses

    assert not machine.woken.is_set()
    lane.free = 1
    async with asyncio.timeout(10):
        await machine.woken.wait()
