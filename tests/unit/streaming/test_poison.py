"""What ends the process while it is handled, twice by a watchdog or three times in a row, is set aside."""

import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.domain.out import Out
from app.ports import Failing, Poison, Subscription, Urgency
from app.streaming.poison import BLOCKED_S, PoisonGuard
from app.streaming.process import Processor
from app.streaming.store import StoreBroken
from app.streaming.timer_retries import TRIES
from schemas.dead import read_dead
from schemas.topics import DEAD
from tables.rows import MemoryRows
from tables.schedule import SCHEDULE, Due, Schedule, due_key
from tests.records import Record
from tests.unit.streaming.memory_store import ScheduleState

NOW = 1_700_000_000_000


def read(offset: int, partition: int = 0) -> Record:
    return Record("notify_events", partition, offset, NOW)


class Killed(BaseException):
    """Stands for a kill: what it is raised by is never handled to an end."""


@dataclass
class Process:
    """One process after the other over the same folder."""

    folder: Path
    now: float = 1_000_000.0
    guard: PoisonGuard = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self, after_s: float = 0.0) -> PoisonGuard:
        self.now += after_s
        self.guard = PoisonGuard(lambda: self.now)
        self.guard.open(self.folder)
        return self.guard

    def dies_during(self, record: Record, after_s: float = 1.0) -> None:
        self.guard.record(record)
        self.start(after_s)


@pytest.fixture
def process(tmp_path: Path) -> Process:
    return Process(tmp_path)


def test_what_ended_the_process_twice_after_a_long_time_is_poison(process: Process) -> None:
    process.dies_during(read(7), BLOCKED_S)
    process.dies_during(read(7), BLOCKED_S)
    with pytest.raises(Poison, match="2 times in a row"):
        process.guard.record(read(7))


def test_what_ended_it_at_once_is_poison_at_the_third_time(process: Process) -> None:
    process.dies_during(read(7))
    process.dies_during(read(7))
    process.dies_during(read(7))
    with pytest.raises(Poison):
        process.guard.record(read(7))


def test_what_was_handled_to_an_end_meanwhile_begins_anew(process: Process) -> None:
    for _ in range(5):
        process.dies_during(read(7), BLOCKED_S)
        process.guard.record(read(7))
        process.guard.end()


@pytest.mark.parametrize("other", [{"offset": 8}, {"topic": "notify_receipts"}, {"partition": 1}, {"timestamp": 1}])
def test_another_place_is_not_suspected(process: Process, other: dict[str, Any]) -> None:
    process.dies_during(read(7), BLOCKED_S)
    process.dies_during(read(7), BLOCKED_S)
    process.guard.record(replace(read(7), **other))


def test_a_clean_end_leaves_nothing(process: Process) -> None:
    for _ in range(5):
        process.guard.record(read(7))
        process.guard.end()
        process.start(BLOCKED_S)
    process.guard.record(read(7))


def test_two_poisons_that_take_turns_are_both_found(process: Process) -> None:
    for _ in range(2):
        process.dies_during(read(7), BLOCKED_S)
        process.dies_during(read(8, partition=1), BLOCKED_S)
    for record in (read(7), read(8, partition=1)):
        with pytest.raises(Poison):
            process.guard.record(record)


def test_of_what_is_handled_the_send_that_is_worked_on_is_to_blame(process: Process) -> None:
    for offset in (7, 8):
        process.guard.record(read(offset))
        process.guard.works_on(b"a send")
        process.start(BLOCKED_S)
    process.guard.record(read(7))
    process.guard.record(read(8))
    with pytest.raises(Poison):
        process.guard.works_on(b"a send")


@pytest.mark.parametrize("kind", ["handling", "suspects.json"])
@pytest.mark.parametrize("content", [b"", b"\xff" * 1_000, b"\x01", b"[]", b"{", b"\x01" * 360])
def test_a_damaged_file_keeps_no_process_from_starting(process: Process, kind: str, content: bytes) -> None:
    process.dies_during(read(7))
    (process.folder / kind).write_bytes(content)
    process.start().record(read(7))


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(keys=st.lists(st.binary(max_size=1_000), min_size=2, max_size=2, unique=True))
def test_due_rows_are_told_apart_by_their_whole_keys(
    tmp_path_factory: pytest.TempPathFactory, keys: list[bytes]
) -> None:
    process = Process(tmp_path_factory.mktemp("folder"))
    for _ in range(2):
        process.guard.due(0, keys[0])
        process.start(BLOCKED_S)
    process.guard.due(0, keys[1])
    process.guard.due(1, keys[0])
    with pytest.raises(Poison):
        process.guard.due(0, keys[0])


# --- what becomes of it -------------------------------------------------------------------------------------------


@dataclass
class Machine:
    """Dies of what is in ``deadly``; sends of ``line`` are dispatched with everything, those in ``failing`` fail."""

    deadly: set[bytes] = field(default_factory=set)
    line: list[bytes] = field(default_factory=list)
    failing: dict[bytes, type[Exception]] = field(default_factory=dict)
    ends: bool = True
    role = "scripted"
    tables = ("schedule",)
    subscriptions = (Subscription("notify_events", Urgency.NORMAL, gated=False),)
    done: list[bytes] = field(default_factory=list)

    def open(self, rows: MemoryRows, partition: int) -> ScheduleState:
        return ScheduleState(rows)

    def handle(self, record: Any, state: ScheduleState, out: Out, now: int) -> None:
        self._do(b"record %d" % record.offset, out)

    def wake(self, key: bytes, due: Due, state: ScheduleState, out: Out, now: int) -> None:
        if due.kind == "aside":
            self.line.remove(due.subject)
            out.send("notify_lifecycle", due.subject, due.detail.encode())
        else:
            self._do(due.subject, out)

    def give_up(self, key: bytes, due: Due, state: ScheduleState, out: Out, now: int, reason: str) -> bool:
        if b"give up" in self.deadly:
            raise Killed
        out.send("notify_lifecycle", due.subject, reason.encode())
        return self.ends

    def settle(self, result: bytes, state: ScheduleState, out: Out, now: int) -> None:
        self._do(result, out)

    def _do(self, name: bytes, out: Out) -> None:
        if name in self.deadly:
            raise Killed
        for send in self.line:
            due = Due("aside", "ann", send)
            try:
                out.works_on(send)
                self._send(send)
            except Exception as error:
                if isinstance(error, Poison):
                    due = Due("aside", "ann", send, "poison")
                raise Failing(due_key(NOW, "aside", send), due) from error
            out.works_on(b"")
        out.send("notify_lifecycle", name, b"done")

    def _send(self, send: bytes) -> None:
        if send in self.deadly:
            raise Killed
        if send in self.failing:
            raise self.failing[send]


class Worker:
    """Decides in one process after the other, over the same rows."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine: Any = machine
        self.process = Process(folder)
        self.rows = MemoryRows()
        self.deaths = 0
        self.counts: dict[str, int] = {}
        self.restart(0)

    def restart(self, after_s: float = BLOCKED_S) -> None:
        guard: Any = self.process.start(after_s)
        # (a kill handles nothing to an end)
        ended, guard.end = guard.end, lambda: None if isinstance(sys.exception(), Killed) else ended()
        self.processor = Processor(
            self.machine, self.rows, 0, self._count, lambda topic, code: self._count(f"{topic} {code}", 1), guard
        )
        self.guard = guard

    def _count(self, name: str, count: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + count

    def until_decided(self, decide: Any) -> Out:
        while True:
            out = Out(works_on=self.guard.works_on)
            try:
                with capture_logs():
                    decide(self.processor, out)
            except Killed:
                self.deaths += 1
                assert self.deaths < 10
                self.restart()
            else:
                self.rows.write("schedule", self.processor.changes().get("schedule", {}))
                self.processor.stored()
                return out

    def wake_all(self, now: int) -> Out:
        def wake(processor: Processor, out: Out) -> None:
            for key, due in processor.due(now, 100):
                processor.wake(key, due, out, now)

        return self.until_decided(wake)


def said(out: Out) -> list[tuple[bytes | None, bytes | None]]:
    return [(record.key, record.value) for record in out.records if record.topic != DEAD]


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(Machine(), tmp_path)


def test_a_record_that_kills_becomes_a_letter_and_its_neighbours_are_handled(worker: Worker) -> None:
    worker.machine.deadly = {b"record 2"}

    def handle(processor: Processor, out: Out) -> None:
        for offset in (1, 2, 3):
            processor.handle(read(offset), out, NOW)

    out = worker.until_decided(handle)
    assert worker.deaths == 2
    assert said(out) == [(b"record 1", b"done"), (b"record 3", b"done")]
    [letter] = [read_dead(record.value or b"") for record in out.records if record.topic == DEAD]
    assert (letter.offset, letter.code) == (2, "poison")
    assert worker.counts["notify_events poison"] == 1


def test_a_due_row_that_kills_is_given_up(worker: Worker) -> None:
    worker.machine.deadly = {b"bad"}
    schedule(worker, b"bad", b"good")
    assert sorted(said(worker.wake_all(NOW))) == [(b"bad", b"permanent"), (b"good", b"done")]
    assert worker.deaths == 2


def test_a_due_row_that_belongs_to_nothing_is_put_off_for_long(worker: Worker) -> None:
    worker.machine.deadly, worker.machine.ends = {b"bad"}, False
    schedule(worker, b"bad", b"good")
    assert said(worker.wake_all(NOW)) == [(b"good", b"done")]
    [(key, _)] = ScheduleState(worker.rows).schedule.scan(b"", None)
    assert int.from_bytes(key[:8], "big") == NOW + 6 * 3_600_000


def test_a_due_row_that_kills_even_when_it_is_given_up_is_put_off(worker: Worker) -> None:
    worker.machine.deadly = {b"bad", b"give up"}
    schedule(worker, b"bad", b"good")
    assert said(worker.wake_all(NOW)) == [(b"good", b"done")]
    assert worker.deaths == 5


def schedule(worker: Worker, *subjects: bytes) -> None:
    rows = Schedule(SCHEDULE, worker.rows)
    for subject in subjects:
        rows.at(NOW, Due("retry", "ann", subject))
    worker.rows.write("schedule", rows.changes())


DECISIONS = {
    "record": lambda processor, out: processor.handle(read(1), out, NOW),
    "due row": lambda processor, out: processor.wake(due_key(NOW, "judge", b"x"), Due("judge", "ann", b"x"), out, NOW),
    "result": lambda processor, out: processor.settle(b"x", out, NOW),
}


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_send_that_kills_is_set_aside_whatever_dispatched_it(worker: Worker, decision: str) -> None:
    worker.machine.line, worker.machine.deadly = [b"a", b"b", b"c"], {b"b"}
    out = worker.until_decided(DECISIONS[decision])
    assert worker.deaths == 2
    assert said(out)[0] == (b"b", b"poison")
    assert said(out)[-1][1] == b"done"
    assert worker.machine.line == [b"a", b"c"]


@pytest.mark.parametrize("error", [ValueError, RecursionError, KeyError, OverflowError, MemoryError])
@pytest.mark.parametrize("decision", DECISIONS)
def test_sends_that_fail_are_passed_over_and_all_else_is_done(
    worker: Worker, decision: str, error: type[Exception]
) -> None:
    worker.machine.line = [b"a", b"b", b"c", b"d"]
    worker.machine.failing = {b"a": error, b"c": error}
    out = worker.until_decided(DECISIONS[decision])
    assert said(out)[:2] == [(b"a", b""), (b"c", b"")]
    assert said(out)[-1][1] == b"done"
    assert worker.counts["passed_over"] == 2
    assert not [record for record in out.records if record.topic == DEAD]


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_broken_store_is_nobodys_fault(worker: Worker, decision: str) -> None:
    worker.machine.line, worker.machine.failing = [b"a"], {b"a": StoreBroken}
    with pytest.raises(StoreBroken):
        worker.until_decided(DECISIONS[decision])


def test_when_too_many_fail_the_due_row_is_tried_again_later(worker: Worker) -> None:
    worker.machine.line = [b"%d" % number for number in range(100)]
    worker.machine.failing = dict.fromkeys(worker.machine.line, ValueError)
    schedule(worker, b"x")
    for tries in range(TRIES - 1):
        worker.wake_all(NOW + tries * 10**9)
    assert not worker.machine.line


# --- real machines, a real watchdog -------------------------------------------------------------------------------

PROGRAM = """
import asyncio, faulthandler, sys
from pathlib import Path
from app import logs
from app.domain.out import Out
from app.streaming.process import Processor
from app.streaming.poison import PoisonGuard
from app.watchdog import Watchdog
from tests.unit.streaming import poisoned

async def main(role, folder, run):
    beating = asyncio.create_task(Watchdog(60, stuck_s=5).beat())
    guard = PoisonGuard(lambda: 1e6 + 60 * run)
    guard.open(Path(folder))
    await asyncio.sleep(0)
    await getattr(poisoned, role)(guard)
    beating.cancel()
    faulthandler.cancel_dump_traceback_later()

logs.configure(console=False)
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.mark.parametrize(
    ("role", "becomes"),
    [("router", ["accepted", "letter poison", "accepted"]), ("sender", ["call 1", "failed permanent", "call 3"])],
)
def test_what_blocks_a_role_is_set_aside_after_the_watchdog_has_killed_it_twice(
    tmp_path: Path, role: str, becomes: list[str]
) -> None:
    ends = []
    for number in range(5):
        program = [sys.executable, "-c", PROGRAM, role, str(tmp_path), str(number)]
        ended = subprocess.run(program, capture_output=True, text=True, timeout=600, check=False)
        ends.append(ended.returncode)
        if ended.returncode == 0:
            break
        assert "Timeout (0:00:05)" in ended.stderr, ended.stderr
        assert "blocks_for_ever" in ended.stderr
    assert ends == [1, 1, 0]
    assert [line for line in ended.stdout.splitlines() if not line.startswith("{")] == becomes
