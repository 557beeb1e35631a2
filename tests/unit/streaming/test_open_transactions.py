"""Commands behind an open transaction: what is to be judged by them waits, and what needs them not goes on."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.ports import LogRecord, Subscription, Urgency
from app.streaming.buffers import Fetch
from app.streaming.runner import PartitionRunner
from schemas.topics import COMMANDS, EVENTS, RECEIPTS
from tests.records import Record
from tests.unit.streaming.memory_store import ScheduleState
from tests.unit.streaming.test_runner import Buffer, Nothing, Timers, runner_of

_END = 5


class Noting(Timers):
    subscriptions = (
        Subscription(COMMANDS, Urgency.COMMANDS, gated=False),
        Subscription(RECEIPTS, Urgency.RECEIPTS, gated=False),
        Subscription(EVENTS, Urgency.NORMAL),
    )

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[str] = []
        self.settled: list[Any] = []
        self.known_at: list[int | None] = []

    def handle(self, record: Any, state: ScheduleState, out: Any, now: int) -> None:
        self.handled.append(record.topic)

    def settle(self, result: Any, state: ScheduleState, out: Any, now: int) -> None:
        self.settled.append(result)
        self.known_at.append(out.known_at)


class CallExecutor(Buffer):
    free = 1

    def put_off(self, result: Any) -> Any:
        return f"{result}, no new call"


@dataclass
class Held:
    """A runner with an event, commands that end at 5, and an open transaction that begins at 2 of them."""

    machine: Noting = field(default_factory=Noting)
    is_open: bool = True
    #: Whether the broker says that a transaction is open.
    is_told: bool = True

    def __post_init__(self) -> None:
        self.runner: PartitionRunner
        self.runner, self.crashed = runner_of(
            self.machine, CallExecutor(), 0, is_held=lambda topic, partition: topic == COMMANDS and self.is_told
        )

    async def turns(self) -> None:
        async with asyncio.timeout(30):
            while not self.runner.ready.is_set():
                assert self.crashed == []
                await asyncio.sleep(0)
        for _ in range(200):
            await asyncio.sleep(0)


@pytest.fixture
async def held(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Held]:
    async def end(self: Nothing, partition: int) -> int:
        return _END

    monkeypatch.setattr(Nothing, "end", end, raising=False)
    held = Held()
    held.runner.offer(Fetch(COMMANDS, 0, [Record(COMMANDS, 0, 0)], 0, 2))
    held.runner.offer(Fetch(EVENTS, 0, [Record(EVENTS, 0, 0)], 0, 1))
    held.runner.start()
    await held.turns()
    yield held
    await held.runner.drain(1.0)
    assert held.crashed == []


async def test_what_is_to_be_judged_waits_and_that_is_no_standstill(held: Held) -> None:
    assert held.machine.handled == [COMMANDS]
    assert held.runner.behind() == 1
    assert not held.runner.progress()["deciding"].todo


async def test_what_waits_with_no_transaction_open_is_a_standstill(held: Held) -> None:
    held.is_told = False

    assert held.runner.progress()["deciding"].todo


async def test_results_of_calls_are_settled_with_no_new_call(held: Held) -> None:
    held.runner._calls.results.append("accepted")
    held.runner._nudge()
    async with asyncio.timeout(30):
        while not held.machine.settled:
            await asyncio.sleep(0)

    assert held.machine.settled == ["accepted, no new call"]
    assert held.machine.known_at == [0]  # a call that was decided all the same would find its look aged


@pytest.mark.parametrize("records", [[], [Record(COMMANDS, 0, 3)]], ids=["aborted", "committed"])
async def test_it_goes_on_when_the_transaction_has_ended(held: Held, records: list[LogRecord]) -> None:
    held.is_told = False
    held.runner.offer(Fetch(COMMANDS, 0, records, 2, _END))
    async with asyncio.timeout(30):
        while EVENTS not in held.machine.handled:
            await asyncio.sleep(0)

    assert held.machine.handled == [COMMANDS, *(record.topic for record in records), EVENTS]


async def test_how_long_it_waits_is_seen(held: Held) -> None:
    assert held.runner.waits_since(COMMANDS, _END) is not None
    assert held.runner.waits_since(EVENTS, 1) is not None
    assert held.runner.waits_since(RECEIPTS, 0) is None
