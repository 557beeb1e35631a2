"""The runner of a partition: what waits and can't be taken yet never keeps the process from its other work."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from app.domain.out import Produce
from app.ports import Subscription, Urgency
from app.streaming.buffers import Fetch
from app.streaming.journal import JournalPosition
from app.streaming.producer import Span
from app.streaming.restore import Committed, PendingEntry, Restored
from app.streaming.runner import PartitionRunner
from app.streaming.runtime import Hurry, Runtime
from app.streaming.select import Selection
from app.streaming.stall_detection import Progress
from tables.rows import MemoryRows
from tables.schedule import SCHEDULE, Due, Schedule
from tests.records import Record
from tests.unit.streaming.memory_store import MemoryStore, ScheduleState

NOW = 1_000_000


class Timers:
    """A machine that only wakes."""

    role = "timers"
    subscriptions: Sequence[Subscription] = ()
    tables = ("schedule",)

    def __init__(self) -> None:
        self.woken = asyncio.Event()

    def open(self, rows: MemoryRows, partition: int) -> ScheduleState:
        return ScheduleState(rows)

    def wake(self, due_key: bytes, due: Due, state: ScheduleState, out: Any, now: int) -> None:
        self.woken.set()


class Buffer:
    """A performer whose calls in hand may fill it."""

    free = 0
    asked = 0

    def room(self, urgency: Urgency) -> int:
        self.asked += 1
        if self.asked > 1_000:
            raise RuntimeError("asked again and again, and nobody else had a turn")
        return self.free


class Nothing:
    """Kafka's part: nothing committed, nothing to restore; what is produced is acknowledged, record after record."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, int], int] = {}

    async def restore(self, *_: Any) -> Restored:
        return Restored(0, {"schedule": 0}, {})

    async def pending_entry(self, *_: Any) -> PendingEntry:
        return PendingEntry(None, {})

    async def ends(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        return {topic: self._ends.get((topic, partition), 0) for topic in topics}

    async def bounds(self, topics: Iterable[str], partition: int) -> dict[str, tuple[int, int]]:
        return dict.fromkeys(topics, (0, 0))

    async def claimed(self, partition: int, start: int, end: int | None) -> bool:
        return False

    async def committed(self, partition: int) -> dict[str, Committed]:
        return {}

    def note(self, partition: int, positions: Mapping[str, int], journal_position: JournalPosition | None) -> None: ...

    async def append(self, topic: str, partition: int, *_: Any) -> int:
        await asyncio.sleep(0)  # nobody hears from Kafka within a turn
        return self._take((topic, partition), 1).first

    async def produce(self, records: Iterable[Produce], partition: int) -> dict[tuple[str, int], Span]:
        counts = Counter(record.topic for record in records)
        return {(topic, partition): self._take((topic, partition), count) for topic, count in counts.items()}

    def _take(self, where: tuple[str, int], count: int) -> Span:
        first = self._ends.get(where, 0)
        self._ends[where] = first + count
        return Span(first, first + count, count)


class Deciding(Timers):
    """Notes by which policy each row was decided, batch for batch."""

    def __init__(self) -> None:
        super().__init__()
        self.catalog = 0
        self.by_batch: dict[int, list[int]] = {}
        self._batches: list[Any] = []

    def wake(self, due_key: bytes, due: Due, state: ScheduleState, out: Any, now: int) -> None:
        if not self._batches or self._batches[-1] is not out:
            self._batches.append(out)  # kept, so that no later one is taken for it
        self.by_batch.setdefault(len(self._batches), []).append(self.catalog)


def runner_of(
    machine: Any, executor: Any, due: int, due_ms: int = NOW - 1, store: MemoryStore | None = None, **more: Any
) -> tuple[PartitionRunner, list[BaseException]]:
    """A runner over so many rows that are due, and what it crashed by. ``store``: what is there besides; ``more``: of
    its parts."""
    rows, kafka = store or MemoryStore(), Nothing()
    schedule = Schedule(SCHEDULE, rows)
    for number in range(due):
        schedule.at(due_ms, Due("retry", "ada", b"send %d" % number))
    rows.write({"schedule": schedule.changes()})
    crashed: list[BaseException] = []
    parts: Any = Runtime(
        machine=machine,
        producer=kafka,  # type: ignore[arg-type]
        restorer=kafka,  # type: ignore[arg-type]
        end_offsets=kafka,  # type: ignore[arg-type]
        positions=kafka,
        clock=lambda: NOW,
        executor=executor,
        crash=crashed.append,
        pause=lambda topic, partition: None,
        resume=lambda topic, partition: None,
        counted=lambda name, count: None,
        **more,
    )
    return PartitionRunner(0, rows, parts), crashed  # type: ignore[arg-type]


async def test_a_policy_comes_into_force_between_two_batches_never_within_one() -> None:
    machine, due = Deciding(), 3_000
    runner, crashed = runner_of(machine, None, due)
    runner.start()
    async with asyncio.timeout(60):
        while sum(map(len, machine.by_batch.values())) < due:
            machine.catalog += 1
            await asyncio.sleep(0)
    await runner.drain(10.0)

    assert crashed == []
    assert all(len(set(catalogs)) == 1 for catalogs in machine.by_batch.values())
    assert len({catalogs[0] for catalogs in machine.by_batch.values()}) > 1


@pytest.fixture
async def full() -> AsyncIterator[tuple[Timers, Buffer, PartitionRunner]]:
    """A runner with a row that is due, on a lane that has no room for the calls that it might bring."""
    machine, buffer = Timers(), Buffer()
    runner, crashed = runner_of(machine, buffer, due=1)
    runner.start()
    yield machine, buffer, runner
    await runner.drain(1.0)
    assert crashed == []


async def test_a_timer_that_is_due_with_no_room_for_calls_lets_the_calls_in_hand_end(
    full: tuple[Timers, Buffer, PartitionRunner],
) -> None:
    machine, buffer, runner = full
    async with asyncio.timeout(30):
        await runner.ready.wait()
    await asyncio.sleep(0)  # another task's turn: it comes only if the runner pauses

    assert not machine.woken.is_set()
    buffer.free = 1
    async with asyncio.timeout(30):
        await machine.woken.wait()


async def test_a_timer_does_not_wait_for_what_a_new_request_would_need() -> None:
    class Limited(Buffer):
        def room(self, urgency: Urgency) -> int:
            return 0 if urgency >= Urgency.NORMAL else 1

    machine = Timers()
    runner, crashed = runner_of(machine, Limited(), due=1)
    runner.start()
    async with asyncio.timeout(30):
        await machine.woken.wait()
    await runner.drain(1.0)

    assert crashed == []


@pytest.mark.parametrize(("free", "is_stuck"), [(0, False), (1, True)])
async def test_timers_that_are_not_woken_are_seen_and_watched_unless_calls_have_no_room(
    monkeypatch: pytest.MonkeyPatch, free: int, is_stuck: bool
) -> None:
    buffer = Buffer()
    buffer.free = free
    monkeypatch.setattr(Selection, "_draw_due", lambda *_: 0)
    runner, _ = runner_of(Timers(), buffer, due=2, due_ms=NOW - 90_000)
    assert runner.overdue_s() == 0.0  # nobody knows before it is open
    runner.start()
    async with asyncio.timeout(30):
        await runner.ready.wait()
    assert runner.overdue_s() == 90.0
    assert runner.progress()["timers"] == Progress(0, is_stuck)
    monkeypatch.undo()
    buffer.free = 2
    async with asyncio.timeout(30):
        while runner.overdue_s():
            await asyncio.sleep(0)
    assert not runner.progress()["timers"].todo
    assert runner.progress()["timers"].done == 2
    await runner.drain(1.0)


class Calling(Timers):
    """Each row that falls due brings a call."""

    calls = 0
    buffer: Any = None

    def wake(self, due_key: bytes, due: Due, state: ScheduleState, out: Any, now: int) -> None:
        self.calls += 1
        if self.buffer is not None:
            self.buffer.take()
        out.call(due.subject)

    def settle(self, result: Any, state: ScheduleState, out: Any, now: int) -> None: ...


class OneAtATime(Buffer):
    """Its only call in hand ends when it is told so; a slot is taken when the call is decided."""

    free = 1

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    def take(self) -> None:
        self.free -= 1

    def put_off(self, result: Any) -> Any:
        return result

    def room(self, urgency: Urgency) -> int:
        return self.free

    async def perform(self, call: Any) -> Any:
        await self.may_end.wait()
        self.free += 1
        return call


async def test_the_partitions_of_a_process_decide_no_more_calls_than_it_may_have_in_hand() -> None:
    machine, buffer = Calling(), OneAtATime()
    machine.buffer = buffer
    first, crashed = runner_of(machine, buffer, due=2)
    second = PartitionRunner(1, first._store, first._runtime)
    runners = (first, second)
    for runner in runners:
        runner.start()
    for _ in range(50):  # turns enough for each to go round several times
        await asyncio.sleep(0)

    assert machine.calls == 1
    buffer.may_end.set()
    for runner in runners:
        await runner.drain(5.0)
    assert crashed == []


class Reading(Timers):
    """Notes how many records each batch had."""

    subscriptions = (Subscription("events", Urgency.NORMAL, gated=False),)

    def __init__(self) -> None:
        super().__init__()
        self.batches: Counter[int] = Counter()
        self._outs: list[Any] = []

    def handle(self, record: Any, state: ScheduleState, out: Any, now: int) -> None:
        if not self._outs or self._outs[-1] is not out:
            self._outs.append(out)
        out.send("lifecycle", b"", b"")
        self.batches[len(self._outs)] += 1


async def read_all(hurry: Hurry) -> list[int]:
    """The sizes of the batches in which 200 records are read, each of which takes a millisecond."""
    machine, ticks = Reading(), count()
    runner, crashed = runner_of(machine, None, 0, hurry=hurry, stopwatch=lambda: next(ticks) / 1000)
    runner.offer(Fetch("events", 0, [Record("events", 0, n, NOW) for n in range(200)], 0, 200))
    runner.start()
    async with asyncio.timeout(60):
        while machine.batches.total() < 200:
            await asyncio.sleep(0)
    await runner.drain(5.0)
    assert crashed == []
    return list(machine.batches.values())


async def test_a_batch_is_short_while_something_urgent_waits_in_another_partition() -> None:
    assert max(await read_all(Hurry(partitions={7}))) < 10
    assert max(await read_all(Hurry(came=lambda: True))) < 10
    assert max(await read_all(Hurry())) > 15


class Falling(Timers):
    """Notes, batch by batch, how many due rows and how many records of each lane it had. Each costs ``weight`` bytes,
    and each row is due again at once, as a slice of long work is."""

    subscriptions = (
        Subscription("events_critical", Urgency.CRITICAL, gated=False),
        Subscription("events", Urgency.NORMAL, gated=False),
        Subscription("events_bulk", Urgency.BULK, gated=False),
    )

    def __init__(self, weight: int) -> None:
        super().__init__()
        self.batches: list[Counter[str]] = []
        self._weight = weight
        self._out: Any = None
        #: Seconds of work until now.
        self.spent = 0.0

    def handle(self, record: Any, state: ScheduleState, out: Any, now: int) -> None:
        self._note(record.topic, out)

    def wake(self, due_key: bytes, due: Due, state: ScheduleState, out: Any, now: int) -> None:
        state.schedule.at(now, due)
        self._note("due", out)

    def _note(self, what: str, out: Any) -> None:
        if self._out is not out:
            self._out = out
            self.batches.append(Counter())
        self.batches[-1][what] += 1
        self.spent += 0.001
        out.send("lifecycle", b"", b"x" * self._weight)


async def batches_of(weight: int, buffers: Mapping[str, int], due: int, turns: int) -> list[Counter[str]]:
    """The first batches, of so many records in each lane and so many due rows; each takes a millisecond."""
    machine = Falling(weight)
    runner, crashed = runner_of(machine, None, due, stopwatch=lambda: machine.spent)
    for topic, records in buffers.items():
        runner.offer(Fetch(topic, 0, [Record(topic, 0, n, NOW) for n in range(records)], 0, records))
    runner.start()
    async with asyncio.timeout(60):
        while len(machine.batches) <= turns:
            await asyncio.sleep(0)
    await runner.drain(5.0)
    assert crashed == []
    return machine.batches[:turns]


@pytest.mark.parametrize("buffer", ["events", "events_bulk"])
@pytest.mark.parametrize("weight", [0, 100_000], ids=("time", "bytes"))
async def test_rows_that_fell_due_leave_half_of_a_batch_to_the_lanes_behind(buffer: str, weight: int) -> None:
    for batch in await batches_of(weight, {buffer: 1_000}, due=600, turns=20):
        share = batch["due"] / batch.total()
        assert 0.3 <= share <= 0.7, batch


class Slow(Schedule):
    """Finding what is due takes longer than a batch may: it lies behind thousands of deleted rows."""

    __slots__ = ("machine",)
    machine: Falling

    def due(self, now_ms: int, limit: int) -> list[tuple[bytes, Due]]:
        self.machine.spent += 0.05
        return super().due(now_ms, limit)


class Finding(Falling):
    def open(self, rows: MemoryRows, partition: int) -> ScheduleState:
        state = ScheduleState(rows)
        state.schedule = slow = Slow(SCHEDULE, rows)
        slow.machine = self
        return state

    def wake(self, due_key: bytes, due: Due, state: ScheduleState, out: Any, now: int) -> None:
        self._note("due", out)


@pytest.mark.parametrize("buffer", [None, "events_critical", "events", "events_bulk"])
async def test_rows_that_fell_due_go_on_however_long_it_takes_to_find_them(buffer: str | None) -> None:
    machine = Finding(10)
    runner, crashed = runner_of(machine, None, 5, stopwatch=lambda: machine.spent)
    if buffer is not None:
        runner.offer(Fetch(buffer, 0, [Record(buffer, 0, n, NOW) for n in range(50)], 0, 50))
    runner.start()
    async with asyncio.timeout(60):
        while sum(batch["due"] for batch in machine.batches) < 5:
            assert machine.spent < 60, "they stand still"
            await asyncio.sleep(0)
    await runner.drain(5.0)
    assert crashed == []


async def test_rows_that_fell_due_take_what_no_lane_needs() -> None:
    batches = await batches_of(0, {"events": 3}, due=600, turns=3)

    assert batches[0]["events"] == 3
    assert min(batch.total() for batch in batches) >= 15


class Scribbling(Timers):
    """Notes on what it reads from, and may fail halfway."""

    def read(self, view: str, user_id: str, params: Any, state: ScheduleState, now: int) -> list[Any]:
        found = [due for _, due in state.schedule.due(now, 10)]
        state.schedule.at(NOW - 1, Due("retry", user_id, b"a send"))
        if view == "fails":
            raise LookupError(view)
        return found


@pytest.mark.parametrize("before", ["goes on", "fails"])
async def test_what_a_read_writes_is_gone_before_the_next_one(before: str) -> None:
    runner, _ = runner_of(Scribbling(), None, due=1)
    runner.ready.set()
    first = await runner.read("goes on", "ada", {}, None, 1.0)
    with suppress(LookupError):
        await runner.read(before, "ada", {}, None, 1.0)

    assert len(first) == 1
    assert await runner.read("goes on", "ada", {}, None, 1.0) == first
