"""Nothing that one record leads to can keep a checkpoint from being made: it has its effects, or a dead letter, and its
neighbours have theirs."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from app.domain.out import SAME_PARTITION, Out, Produce
from app.kafka.records import Unreadable
from app.ports import Rows, Subscription, Urgency
from app.streaming.buffers import Fetch
from app.streaming.journal import decode_entry
from app.streaming.producer import Span
from app.streaming.restore import Committed, PendingEntry, Restored
from app.streaming.runner import PartitionRunner
from app.streaming.runtime import Runtime
from app.streaming.timer_retries import TRIES, after_failure
from schemas.dead import DeadLetter, read_dead
from schemas.decode import Invalid
from schemas.sizes import CHECKPOINT_BYTES, MIB, OUTCOME_BYTES, RECORD_BYTES, STATE_BYTES, limit_of, size_on_wire
from schemas.topics import DEAD
from tables.rows import MemoryRows
from tables.schedule import SCHEDULE, Due, Schedule
from tables.table import Table, TableSpec
from tests.records import Record
from tests.unit.streaming.memory_store import MemoryStore

NOW = 1_700_000_000_000
#: Long enough for whatever is tried now and then to be tried often.
TWO_DAYS = 48 * 3_600_000
ROLE = "scripted"


class Row(Struct, frozen=True, array_like=True):
    what: Any


ROWS: TableSpec[Row] = TableSpec("rows", Row)

_DEEP: list[Any] = []
for _ in range(100_000):
    _DEEP = [_DEEP]
#: Rows that no encoder takes.
NOT_ROWS: dict[str, Any] = {"integer": 2**64, "surrogate": "\ud800", "type": object(), "depth": _DEEP}
ERRORS = (ValueError, RecursionError, OverflowError, MemoryError, UnicodeEncodeError, KeyError, TimeoutError, Invalid)


def error_of(kind: type[Exception]) -> Exception:
    return UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates") if kind is UnicodeEncodeError else kind("\ud800")


@dataclass(frozen=True)
class Script:
    """What the machine does with one record."""

    rows: Sequence[int] = ()
    outputs: Sequence[int] = ()
    not_row: str | None = None
    error: type[Exception] | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()

    @property
    def fits(self) -> bool:
        """Whether it certainly may have its effects (what lies within a few bytes of a bound may be refused)."""
        small = all(size < RECORD_BYTES for size in self.outputs)
        in_all = sum(self.rows) + sum(self.outputs) < OUTCOME_BYTES - 10_000
        return self.error is None and self.not_row is None and small and in_all


def read(offset: int, value: bytes | None = b"{}") -> Record:
    return Record("notify_events", 0, offset, NOW, value=value)


class State:
    def __init__(self, rows: Rows) -> None:
        self.rows: Table[Row] = Table(ROWS, rows)
        self.schedule = Schedule(SCHEDULE, rows)

    def tables(self) -> list[Any]:
        return [self.rows, self.schedule]


class Scripted:
    """A machine that does what the script says of each record, due row and result, all of which have a number."""

    role = ROLE
    tables = ("rows", "schedule")
    subscriptions = (Subscription("notify_events", Urgency.NORMAL, gated=False),)

    def __init__(self, scripts: Mapping[int, Script]) -> None:
        self.scripts = scripts
        self.stubborn = False

    def open(self, rows: MemoryRows, partition: int) -> State:
        return State(rows)

    def handle(self, record: Any, state: State, out: Out, now: int) -> None:
        self._do(record.offset, state, out)

    def wake(self, due_key: bytes, due: Due, state: State, out: Out, now: int) -> None:
        self._do(int(due.subject), state, out)

    def give_up(self, due_key: bytes, due: Due, state: State, out: Out, now: int, reason: str) -> bool:
        """Odd rows belong to something that can have an end, even ones don't; one that also fails in ending it."""
        number = int(due.subject)
        state.rows.put(b"ended %d" % number, Row(reason))
        if self.stubborn:
            raise ValueError("nor can it be ended")
        return number % 2 == 1

    def settle(self, result: int, state: State, out: Out, now: int) -> None:
        self._do(result, state, out)

    def _do(self, number: int, state: State, out: Out) -> None:
        script = self.scripts[number]
        count = state.rows.get(b"count")
        state.rows.put(b"count", Row(1 + (count.what if count is not None else 0)))
        state.rows.put(b"done %d" % number, Row(number))
        for row, size in enumerate(script.rows):
            state.rows.put(b"%d %d" % (number, row), Row(b"x" * size))
        for size in script.outputs:
            out.send("notify_lifecycle", b"%d" % number, b"x" * size, headers=script.headers)
        out.moved += 1
        if script.not_row is not None:
            state.rows.put(b"not a row", Row(NOT_ROWS[script.not_row]))
        if script.error is not None:
            raise error_of(script.error)


@dataclass
class Kafka:
    """Takes what its topics take, and keeps it."""

    entries: list[bytes] = field(default_factory=list)
    produced: list[Produce] = field(default_factory=list)
    _ends: dict[str, int] = field(default_factory=dict)

    async def restore(self, *_: Any) -> Restored:
        return Restored(0, {"rows": 0, "schedule": 0}, {})

    async def pending_entry(self, *_: Any) -> PendingEntry:
        return PendingEntry(None, {})

    async def ends(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        return {topic: self._ends.get(topic, 0) for topic in topics}

    async def bounds(self, topics: Iterable[str], partition: int) -> dict[str, tuple[int, int]]:
        return dict.fromkeys(topics, (0, 0))

    async def claimed(self, *_: Any) -> bool:
        return False

    async def committed(self, partition: int) -> dict[str, Committed]:
        return {}

    def note(self, *_: Any) -> None: ...

    async def append(self, topic: str, partition: int, value: bytes, key: bytes = b"") -> int:
        assert size_on_wire(key, value) <= STATE_BYTES
        await asyncio.sleep(0)
        if key == b"":
            decode_entry(value)  # whoever comes next has to read it
            self.entries.append(value)
        return self._take(topic)

    async def produce(self, records: Iterable[Produce], partition: int) -> dict[tuple[str, int], Span]:
        spans: dict[tuple[str, int], Span] = {}
        for record in records:
            assert size_on_wire(record.key, record.value, record.headers) <= limit_of(record.topic), record.topic
            assert record.partition == SAME_PARTITION
            self.produced.append(record)
            at, known = self._take(record.topic), spans.get((record.topic, 0))
            spans[record.topic, 0] = Span(at if known is None else known.first, at + 1, at + 1)
        return {where: Span(span.first, span.end, span.end - span.first) for where, span in spans.items()}

    def _take(self, topic: str) -> int:
        at = self._ends.get(topic, 0)
        self._ends[topic] = at + 1
        return at

    def letters(self) -> list[DeadLetter]:
        return [read_dead(record.value or b"") for record in self.produced if record.topic == DEAD]

    def of(self, number: int) -> list[int]:
        """The sizes of the outputs of a record."""
        return [
            len(record.value or b"")
            for record in self.produced
            if record.topic == "notify_lifecycle" and record.key == b"%d" % number
        ]


@dataclass
class Partition:
    """A runner over a Kafka and a store in memory."""

    machine: Scripted
    kafka: Kafka = field(default_factory=Kafka)
    rows: MemoryStore = field(default_factory=MemoryStore)
    crashed: list[BaseException] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    dead: list[tuple[str, str]] = field(default_factory=list)
    now: int = NOW

    def __post_init__(self) -> None:
        kafka: Any = self.kafka
        self.runner = PartitionRunner(
            0,
            self.rows,  # type: ignore[arg-type]
            Runtime(
                machine=self.machine,  # type: ignore[arg-type]
                producer=kafka,
                restorer=kafka,
                end_offsets=kafka,
                positions=kafka,
                clock=lambda: self.now,
                executor=None,
                crash=self.crashed.append,
                pause=lambda topic, partition: None,
                resume=lambda topic, partition: None,
                counted=self._count,
                on_dead=lambda topic, code: self.dead.append((topic, code)),
            ),
        )

    def _count(self, name: str, count: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + count

    def schedule(self, numbers: Iterable[int]) -> None:
        schedule = Schedule(SCHEDULE, self.rows)
        for number in numbers:
            schedule.at(NOW - 1, Due("retry", "ann", b"%d" % number))
        self.rows.write({"schedule": schedule.changes()})

    async def run(self, records: Sequence[Any]) -> None:
        """Until all was handled that was there."""
        if records:
            self.runner.offer(Fetch("notify_events", 0, records, records[0].offset, records[-1].offset + 1))
        self.runner.start()
        async with asyncio.timeout(60):
            while not self.crashed and not self._is_done(records):
                await asyncio.sleep(0)
        await self.runner.drain(30)
        assert self.crashed == []

    def ended(self) -> dict[int, str]:
        """What was given up, and why."""
        return {row: what.what for row, what in self._rows(b"ended ")}

    def _rows(self, prefix: bytes) -> list[tuple[int, Row]]:
        found = Table(ROWS, self.rows).scan(prefix, prefix + b"~")
        return [(int(key.removeprefix(prefix)), row) for key, row in found]

    async def fail_for(self, ms: int) -> dict[int, list[int]]:
        """Lets time go by. Returns how long each row waited that never was over, try by try."""
        end, waits = self.now + ms, dict[int, list[int]]()
        self.runner.start()
        while True:
            async with asyncio.timeout(60):
                while not self._is_done([]):
                    await asyncio.sleep(0)
            due = [(int.from_bytes(key[:8], "big"), row) for key, row in State(self.rows).schedule.scan(b"", None)]
            if not due or min(due, key=lambda pair: pair[0])[0] > end:
                break
            waited = self.now
            self.now = min(at for at, _ in due)
            for at, row in due:
                if at == self.now:
                    waits.setdefault(int(row.subject), []).append(at - waited)
            self.runner._nudge()
        await self.runner.drain(30)
        assert self.crashed == []
        return {int(row.subject): waits[int(row.subject)] for _, row in due}

    def _is_done(self, records: Sequence[Any]) -> bool:
        due = [key for key in self.rows.tables.get("schedule", {}) if int.from_bytes(key[:8], "big") <= self.now]
        handled = not records or self.runner.position("notify_events") == records[-1].offset + 1
        return (
            self.runner.ready.is_set()
            and handled
            and not due
            and not self.runner.is_busy
            and (not self.runner._calls.results)
        )

    def has(self, number: int) -> bool:
        """Whether the script's rows and outputs are all there; they are never there in part."""
        rows, script = self.rows.tables.get("rows", {}), self.machine.scripts[number]
        there = [b"done %d" % number in rows, *(b"%d %d" % (number, n) in rows for n in range(len(script.rows)))]
        outputs = self.kafka.of(number) == list(script.outputs)
        is_there = all(there) and outputs
        assert is_there or not (any(there) or self.kafka.of(number)), "in part"
        return is_there


sizes = st.sampled_from([0, 100, 100_000, MIB, 2 * MIB, RECORD_BYTES - 300, RECORD_BYTES, 5 * MIB])
scripts = st.builds(
    Script,
    rows=st.lists(sizes, max_size=3),
    outputs=st.lists(sizes, max_size=3),
    not_row=st.none() | st.none() | st.sampled_from(list(NOT_ROWS)),
    error=st.none() | st.none() | st.sampled_from(ERRORS),
    headers=st.lists(st.tuples(st.sampled_from(["a", "\udcff"]), st.none() | st.just(b"1")), max_size=2),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(scripts, min_size=1, max_size=8))
async def test_each_record_has_its_effects_or_a_dead_letter(written: list[Script]) -> None:
    partition = Partition(Scripted(dict(enumerate(written))))
    await partition.run([read(number) for number in range(len(written))])

    letters = partition.kafka.letters()
    refused = [letter.offset for letter in letters]
    assert sorted(refused + [n for n in range(len(written)) if partition.has(n)]) == list(range(len(written)))
    assert not any(written[number].fits for number in refused)
    assert partition.counts.get("moved", 0) == len(written) - len(refused)
    assert len(partition.dead) == len(letters)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(scripts, min_size=1, max_size=5))
async def test_a_due_row_that_fails_stays_scheduled_and_its_neighbours_are_woken(written: list[Script]) -> None:
    partition = Partition(Scripted(dict(enumerate(written))))
    partition.schedule(range(len(written)))
    await partition.run([])

    left = {int(due.subject): key for key, due in State(partition.rows).schedule.scan(b"", None)}
    assert all(int.from_bytes(key[:8], "big") >= NOW + 1_000 for key in left.values()), "it would be woken at once"
    woken, ended = [n for n in range(len(written)) if partition.has(n)], partition.ended()
    assert sorted([*left, *woken, *ended]) == list(range(len(written)))
    assert set(ended.values()) <= {"too_large"}, "given up at the first try, though the next may succeed"
    assert partition.counts.get("due_failed", 0) == len(left) + len(ended)
    assert partition.counts.get("due_given_up", 0) == len(ended)


ALWAYS = {
    "raises": Script(error=ValueError),
    "not a row": Script(not_row="integer"),
    "too much": Script(outputs=[5 * MIB]),
}


@pytest.mark.parametrize("kind", ALWAYS)
async def test_a_due_row_that_always_fails_is_given_up_in_time(kind: str) -> None:
    partition = Partition(Scripted({1: ALWAYS[kind], 2: ALWAYS[kind]}))
    partition.schedule([1, 2])
    waits = await partition.fail_for(TWO_DAYS)

    assert partition.ended() == {1: "too_large" if kind == "too much" else "permanent"}
    assert partition.counts["due_given_up"] == 1
    assert list(waits) == [2], "what belongs to nothing waits on"
    assert waits[2] == sorted(waits[2])
    assert waits[2][0] == 60_000
    assert waits[2][-1] == waits[2][-2] > TWO_DAYS / 24, "its waits grow, to a bound"


async def test_what_can_be_neither_woken_nor_ended_waits_on() -> None:
    partition = Partition(Scripted({1: ALWAYS["raises"]}))
    partition.machine.stubborn = True
    partition.schedule([1])
    waits = await partition.fail_for(TWO_DAYS)

    assert partition.ended() == {}
    assert len(waits[1]) > TRIES
    assert "due_given_up" not in partition.counts


@given(st.integers(0, 10_000), st.booleans())
def test_a_row_is_given_up_after_so_many_tries_and_at_once_where_no_try_can_help(tries: int, lasting: bool) -> None:
    retry = after_failure(tries, lasting=lasting)

    assert retry.give_up == (lasting or tries >= TRIES - 1)
    assert 60_000 <= retry.wait_ms <= after_failure(tries + 1, lasting=lasting).wait_ms <= 6 * 3_600_000


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(scripts, min_size=1, max_size=5))
async def test_a_result_that_fails_is_left_and_its_neighbours_are_settled(written: list[Script]) -> None:
    partition = Partition(Scripted(dict(enumerate(written))))
    partition.runner._calls.results.extend(range(len(written)))
    await partition.run([])

    settled = sum(partition.has(n) for n in range(len(written)))
    assert settled + partition.counts.get("results_failed", 0) == len(written)


async def test_more_than_a_checkpoint_takes_of_one_record_is_a_dead_letter_that_says_so() -> None:
    too_much = Script(rows=[OUTCOME_BYTES // 2 + 1] * 2)
    partition = Partition(Scripted({0: Script(rows=[1]), 1: too_much, 2: Script(rows=[1])}))
    await partition.run([read(n) for n in range(3)])

    [letter] = partition.kafka.letters()
    assert (letter.offset, letter.code, letter.field) == (1, "too_large", None)
    assert str(OUTCOME_BYTES) in letter.reason
    assert partition.has(0)
    assert partition.has(2)


async def test_an_output_that_its_topic_refuses_is_a_dead_letter_that_names_the_topic() -> None:
    partition = Partition(Scripted({0: Script(outputs=[RECORD_BYTES])}))
    await partition.run([read(0)])

    [letter] = partition.kafka.letters()
    assert (letter.code, "notify_lifecycle" in letter.reason) == ("too_large", True)
    assert partition.dead == [("notify_events", "too_large")]


@pytest.mark.parametrize("count", [2_000])
async def test_no_number_of_bad_records_in_a_row_stops_a_role(count: int) -> None:
    scripts = {n: Script(error=ValueError) for n in range(count)} | {count: Script(rows=[1])}
    partition = Partition(Scripted(scripts))
    await partition.run([read(n) for n in range(count + 1)])

    assert len(partition.kafka.letters()) == count
    assert partition.has(count)


async def test_batches_are_closed_at_their_bound_of_bytes() -> None:
    partition = Partition(Scripted({n: Script(rows=[100_000]) for n in range(100)}))
    await partition.run([read(n) for n in range(100)])

    assert max(map(len, partition.kafka.entries)) < CHECKPOINT_BYTES + 200_000
    assert all(partition.has(n) for n in range(100))


@pytest.mark.parametrize("code", ["undecodable", "too_large"])
async def test_an_unreadable_batch_is_a_letter_and_an_empty_record_is_none(code: str) -> None:
    partition = Partition(Scripted({2: Script(rows=[1])}))
    await partition.run([Unreadable("notify_events", 0, 0, 1, "a bad batch", code), read(1, value=None), read(2)])

    [letter] = partition.kafka.letters()
    assert (letter.offset, letter.key, letter.value, letter.code) == (0, None, None, code)
    assert partition.has(2)
