"""How a worker sees its providers, and what a pause does to their gates."""

import asyncio

import pytest

from app.domain.outcome import CIRCUIT_OPEN, Outcome
from app.providers.breaker import Breaker
from app.providers.gate import Gate
from app.providers.states import WorkerProviders
from schemas.providers import ProviderPause

FAILED = Outcome("retry", code="503")


class World:
    """One worker with one provider, and its clocks."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[tuple[str, str | None]] = []
        self.gate = Gate("twilio", concurrency=10, breaker=Breaker(failures_to_open=2), clock=lambda: self.now)
        self.providers = WorkerProviders("sms", "1", [self.gate], self.ms, lambda *told: self.told.append(told))

    def ms(self) -> int:
        return round(self.now * 1000)

    def pause(self, why: str = "maintenance") -> None:
        pause = ProviderPause(provider="twilio", paused=True, at=self.ms(), since=self.ms(), why=why)
        self.providers.take_over({"twilio": pause})

    def resume(self) -> None:
        self.providers.take_over({})

    def fail(self, times: int = 2) -> None:
        for _ in range(times):
            self.gate.record(FAILED)

    def seen(self) -> tuple[str, str | None, int]:
        [seen] = self.providers.report(self.ms()).providers
        return seen.state, seen.why, seen.since


def test_a_provider_is_closed_open_recovering_and_closed_each_since_its_moment() -> None:
    world = World()
    assert world.seen() == ("closed", None, 1_000_000)
    world.now = 1010.0
    world.fail()
    assert world.seen() == ("open", "outage", 1_010_000)
    world.now = 1020.0
    world.gate.record(Outcome("ok"))
    assert world.seen() == ("recovering", None, 1_020_000)
    world.now = 1081.0
    assert world.seen() == ("closed", None, 1_081_000)


def test_every_change_of_state_is_news_at_once_and_counts_are_once_a_second() -> None:
    world = World()
    assert not world.providers.look() or not world.providers.look()
    world.fail()
    assert world.providers.look()
    assert not world.providers.look()
    world.now += 0.5
    world.providers.note_waiting("twilio", 7)
    world.now += 1.0
    assert world.providers.look()
    assert world.providers.report(0).providers[0].waiting == 7
    world.providers.note_waiting("twilio", 8)
    assert not world.providers.look()
    world.now += 1.0
    assert world.providers.look()


@pytest.mark.parametrize(
    "outcomes", [[], [FAILED, FAILED], [FAILED, FAILED, Outcome("ok")]], ids=["closed", "open", "recovering"]
)
def test_a_pause_shows_whatever_the_breaker_is_in_and_nothing_but_resuming_ends_it(outcomes: list[Outcome]) -> None:
    """A probe's success, or the end of a ramp, isn't an operator's word."""
    world = World()
    for outcome in outcomes:
        world.gate.record(outcome)
    world.pause()
    for outcome in (Outcome("ok"), FAILED, FAILED, Outcome("ok")):  # calls that were under way
        world.gate.record(outcome)
    world.now += 86_400

    assert world.seen()[:2] == ("paused", "maintenance")
    assert world.providers.why_not_called() == {"twilio": "paused"}
    assert world.gate.is_shut


def test_resuming_makes_the_load_grow_from_nothing_as_after_an_outage() -> None:
    world = World()
    world.pause()
    world.now += 3600
    assert world.gate.room == 10
    world.resume()

    assert (world.gate.room, world.seen()[0]) == (1, "recovering")
    world.now += 30
    assert world.gate.room == 5
    world.now += 31
    assert (world.gate.room, world.seen()[0]) == (10, "closed")


def test_resuming_does_not_close_a_breaker_that_is_open() -> None:
    world = World()
    world.fail()
    world.pause()
    world.now += 3600
    world.resume()

    assert world.seen()[:2] == ("open", "outage")
    assert world.gate.room == 1


def test_pausing_and_resuming_twice_is_once() -> None:
    world = World()
    world.pause()
    world.pause("another reason")
    assert world.seen()[:2] == ("paused", "another reason")
    world.resume()
    world.now += 30
    world.resume()

    assert world.told == [("twilio", "maintenance"), ("twilio", None)]
    assert world.gate.room == 5


async def test_who_waits_for_a_slot_is_refused_on_a_pause_and_who_has_one_keeps_it() -> None:
    world = World()
    gate = Gate("twilio", concurrency=1, clock=lambda: world.now)
    async with gate.slot(1.0) as first:
        assert first is None
        waiting = asyncio.create_task(_enter(gate))
        await asyncio.sleep(0)
        gate.pause()
        refusal = await waiting

        assert refusal is not None
        assert refusal.code == CIRCUIT_OPEN
        assert gate.in_flight == 1
    assert await _enter(gate) == refusal
    gate.resume()
    assert await _enter(gate) is None


async def _enter(gate: Gate) -> Outcome | None:
    async with gate.slot(5.0) as refusal:
        return refusal
