"""What a gate lets through, and in which order."""

import asyncio
import math
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.outcome import Outcome
from app.ports import Address, Handle, Message
from app.providers.breaker import Breaker, Cause
from app.providers.gate import Bucket, Gate, GatedClient
from schemas.words import Channel, Provider
from tests.unit.providers.factories import a_device, a_handle, a_message

Behaviour = Callable[[], Awaitable[Outcome]]


class ScriptedClient:
    """A client that answers as the test says and remembers its calls."""

    name: Provider = "apns"
    channel: Channel = "push"

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.timeouts: list[float] = []

    async def start(self) -> None: ...

    async def send(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome:
        self.timeouts.append(timeout_s)
        return await self.behaviour()

    async def ask(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome | None:
        return None

    async def close(self) -> None: ...


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def accepted() -> Outcome:
    return Outcome("ok")


async def send(gated: GatedClient, timeout_s: float = 60.0) -> Outcome:
    return await gated.send(a_message(), a_device(), a_handle(), timeout_s)


def test_a_bucket_gives_its_rate_and_no_more_than_its_burst() -> None:
    bucket = Bucket(rate=10, burst=2, debt=2, level=2, at=0.0)

    assert [bucket.take(0.0) for _ in range(3)] == [0.0, 0.0, pytest.approx(0.1)]
    assert bucket.take(0.1) == 0.0
    assert [bucket.take(100.0) for _ in range(3)] == [0.0, 0.0, pytest.approx(0.1)]


async def test_no_more_calls_are_in_flight_than_allowed() -> None:
    in_flight = most = 0
    gate = Gate("apns", concurrency=3)

    async def call() -> None:
        nonlocal in_flight, most
        async with gate.slot(5.0) as refusal:
            assert refusal is None
            in_flight += 1
            most = max(most, in_flight)
            await asyncio.sleep(0)
            in_flight -= 1

    await asyncio.gather(*(call() for _ in range(50)))

    assert most == 3


async def test_who_waits_for_a_slot_is_served_in_turn() -> None:
    gate = Gate("apns", concurrency=1)
    served: list[int] = []

    async def call(number: int) -> None:
        async with gate.slot(5.0):
            served.append(number)

    async with gate.slot(5.0):
        waiting = [asyncio.create_task(call(number)) for number in range(20)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)

    assert served == list(range(20))


async def test_slots_that_come_free_together_are_taken_together() -> None:
    gate = Gate("apns", concurrency=5)
    held = [gate.slot(5.0) for _ in range(5)]
    for slot in held:
        await slot.__aenter__()
    inside: list[int] = []
    release = asyncio.Event()

    async def call(number: int) -> None:
        async with gate.slot(5.0):
            inside.append(number)
            await release.wait()

    waiting = [asyncio.create_task(call(number)) for number in range(10)]
    await asyncio.sleep(0)
    for slot in held:
        await slot.__aexit__(None, None, None)
    await asyncio.sleep(0)

    assert inside == [0, 1, 2, 3, 4]
    release.set()
    await asyncio.gather(*waiting)


async def test_a_full_lane_refuses_without_a_call() -> None:
    gate = Gate("apns", concurrency=1)
    client = ScriptedClient(accepted)

    async with gate.slot(5.0):
        refused = await send(GatedClient(client, gate), timeout_s=0.1)

    assert (refused.kind, refused.code) == ("throttle", "lane_full")
    assert refused.retry_after_ms
    assert client.timeouts == []


async def test_a_cancelled_waiter_gives_its_turn_away() -> None:
    gate = Gate("apns", concurrency=1)
    gated = GatedClient(ScriptedClient(accepted), gate)

    async with gate.slot(5.0):
        first, second = (asyncio.create_task(send(gated)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])

    assert (await second).kind == "ok"


async def test_a_cancelled_call_gives_its_slot_back() -> None:
    never: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    client = ScriptedClient(lambda: never)
    gated = GatedClient(client, Gate("apns", concurrency=1))
    hanging = asyncio.create_task(send(gated))
    while not client.timeouts:
        await asyncio.sleep(0)

    hanging.cancel()
    await asyncio.wait([hanging])
    client.behaviour = accepted

    assert (await send(gated)).kind == "ok"


async def test_a_call_gets_the_time_that_waiting_left() -> None:
    client = ScriptedClient(accepted)

    await send(GatedClient(client, Gate("apns", concurrency=1)), timeout_s=5.0)

    assert 4.0 < client.timeouts[0] <= 5.0


async def test_an_open_breaker_refuses_without_a_call_and_lets_a_probe_through() -> None:
    clock = Clock()
    client = ScriptedClient(accepted)
    gated = GatedClient(client, Gate("apns", concurrency=5, clock=clock))
    gated.gate.record(Outcome("config"))

    refused = await send(gated)
    assert (refused.kind, refused.code, refused.retry_after_ms) == ("throttle", "lane_rests", 1000)
    assert client.timeouts == []

    clock.now += 1.0
    assert (await send(gated)).kind == "ok"
    assert (await send(gated)).kind == "ok"


async def test_a_recovering_lane_takes_one_call_at_a_time() -> None:
    clock = Clock()
    gate = Gate("apns", concurrency=10, clock=clock, breaker=Breaker(ramp_s=10.0))
    gate.record(Outcome("config"))
    gate.record(Outcome("ok"))

    async with gate.slot(0.05) as first, gate.slot(0.05) as second:
        assert first is None
        assert second is not None
    clock.now += 5.0
    async with gate.slot(0.05) as first, gate.slot(0.05) as second:
        assert (first, second) == (None, None)


async def test_the_rate_holds_back_what_is_over_it() -> None:
    clock = Clock()
    gate = Gate("ses", concurrency=10, rate=20.0, clock=clock)

    assert await codes(gate, 3) == [None, None, "lane_full"]

    clock.now += 0.06
    assert await codes(gate, 2) == [None, "lane_full"]


async def codes(gate: Gate, calls: int) -> list[str | None]:
    """What calls that can't wait are refused for, one after the other."""
    found: list[str | None] = []
    for _ in range(calls):
        async with gate.slot(0.01) as refusal:
            found.append(None if refusal is None else refusal.code)
    return found


async def test_of_its_own_rate_and_a_limit_the_lower_holds() -> None:
    clock = Clock()
    gate = Gate("ses", concurrency=10, rate=50.0, clock=clock)
    let_through = []
    for limit in (10.0, 100.0, None, 10.0):
        gate.limit(limit)
        clock.now += 60.0
        let_through.append((await codes(gate, 7)).count(None))
        await asyncio.sleep(0)

    assert let_through == [1, 5, 5, 1]


async def test_a_limit_that_is_said_again_gives_nothing_back() -> None:
    clock = Clock()
    gate = Gate("ses", concurrency=10, clock=clock)
    gate.limit(10.0)
    assert await codes(gate, 1) == [None]

    gate.limit(10.0)
    gate.limit(10.5)

    assert await codes(gate, 1) == ["lane_full"]


async def test_who_waits_for_a_limit_that_is_lifted_goes_at_once() -> None:
    gate = Gate("ses", concurrency=10, clock=Clock())
    gate.limit(0.001)
    async with gate.slot(5.0):
        waiting = asyncio.create_task(codes_within(gate, 30.0))
        await asyncio.sleep(0)
        assert not waiting.done()
        gate.limit(None)

        assert await waiting is None


async def codes_within(gate: Gate, wait_s: float) -> str | None:
    async with gate.slot(wait_s) as refusal:
        return None if refusal is None else refusal.code


@pytest.mark.parametrize("limit", [1.0, 3.0, 200.0])
def test_no_second_has_more_than_a_tenth_above_the_rate(limit: float) -> None:
    bucket, at, taken = Bucket.of(limit, 0.0), 0.0, []
    for _ in range(1_000):
        while wait := bucket.take(at):
            at += wait + 1e-9
        taken.append(at)

    most = max(sum(1 for other in taken if start <= other < start + 1.0) for start in taken)
    assert limit <= most <= max(limit + 1, limit * 1.1)


async def test_opening_and_closing_is_told_once_each() -> None:
    told: list[tuple[Provider, Cause | None]] = []
    gate = Gate("apns", concurrency=5, on_change=lambda provider, cause: told.append((provider, cause)))

    for outcome in (Outcome("config"), Outcome("config"), Outcome("ok"), Outcome("ok")):
        gate.record(outcome)

    assert told == [("apns", "config"), ("apns", None)]


async def test_a_suspect_lane_says_config_instead_of_dead_address() -> None:
    async def dead() -> Outcome:
        return Outcome("bad_token", code="BadDeviceToken")

    gated = GatedClient(ScriptedClient(dead), Gate("apns", concurrency=5))

    kinds = [(await send(gated)).kind for _ in range(50)]

    assert kinds == ["bad_token"] * 49 + ["config"]


@given(st.floats(0.1, 10_000), st.floats(0, 1 - 1e-12))
def test_whoever_waits_for_a_token_waits_until_a_clock_has_moved(rate: float, level: float) -> None:
    bucket = Bucket(rate, 1.0, 1.0, level, 1e9)
    assert 1e9 + bucket.take(1e9) > 1e9


THROTTLED = Outcome("throttle", code="429")


async def test_a_refused_rate_is_cut_once_for_all_that_was_under_way_and_creeps_up_again() -> None:
    clock = Clock()
    gate = Gate("ses", concurrency=100, rate=100, clock=clock)
    for _ in range(20):
        gate.record(THROTTLED)
    cut = gate.rate

    assert cut is not None
    assert cut < 100
    assert gate.limited_by == "throttling"
    assert gate.breaker.cause is None  # it works, for fewer
    rates = []
    for _ in range(600):
        clock.now += 1
        rates.append(gate.rate or 0)
    assert rates == sorted(rates)
    assert (gate.rate, gate.limited_by) == (100, "limit")


async def test_who_brings_refusals_about_holds_up_nothing_urgent() -> None:
    clock = Clock()
    gate = Gate("ses", concurrency=100, clock=clock)
    for _ in range(30):
        clock.now += 2
        gate.record(THROTTLED)
        gate.record(Outcome("ok"))
    assert gate.rate is not None
    assert gate.rate < 1
    for _ in range(20):
        async with gate.slot(0.0) as refusal:
            assert refusal is None

    assert gate.may_begin(0.0, urgent=True) == math.inf
    assert gate.may_begin(0.0, urgent=False) < 1
    assert gate.is_slow  # timers and receipts go on


async def test_a_provider_that_refuses_whatever_is_sent_opens_its_circuit() -> None:
    clock = Clock()
    gate = Gate("ses", concurrency=100, clock=clock)
    for _ in range(10):
        clock.now += 1
        gate.record(THROTTLED)

    assert gate.breaker.cause == "outage"


async def test_a_device_that_gets_too_much_slows_nobody_else() -> None:
    gate = Gate("apns", concurrency=100, clock=Clock())
    for _ in range(100):
        gate.record(Outcome("throttle", code="TooManyRequests", scope="address"))

    assert (gate.rate, gate.breaker.cause) == (None, None)


async def test_a_device_that_gets_too_much_proves_that_its_provider_answers() -> None:
    clock, reported = Clock(), list[Cause | None]()
    gate = Gate("apns", concurrency=100, clock=clock, on_change=lambda provider, why: reported.append(why))
    for _ in range(10):
        gate.record(Outcome("retry", code="503"))
    assert gate.is_shut
    clock.now += 1

    gate.record(Outcome("throttle", code="TooManyRequests", scope="address"))

    assert gate.state == ("recovering", None)
    assert reported == ["outage", None]


async def test_what_is_urgent_does_not_wait_for_a_plan_and_counts_in_it() -> None:
    clock = Clock()
    gate = Gate("ses", concurrency=100, clock=clock)
    gate.warm_up(1 / 60)
    assert gate.may_begin(0, urgent=False) == 1
    async with gate.slot(5.0) as refusal:
        assert refusal is None

    assert gate.has_warmed_enough()
    assert gate.may_begin(0, urgent=True) > 100
    async with gate.slot(5.0) as refusal:
        assert refusal is None
    clock.now += 60
    assert gate.may_begin(0, urgent=False) < 1
    clock.now += 60
    assert gate.may_begin(0, urgent=False) == 1


async def test_the_rest_makes_up_for_a_burst_of_urgent_calls_within_a_day() -> None:
    """However many went beyond the plan, as much goes out in the end; what exceeds a day's worth is written off."""
    clock, day = Clock(), 86_400
    for burst, days in ((10, 0.2), (50, 1), (5_000, 1)):
        gate = Gate("ses", concurrency=10_000, clock=clock)
        gate.warm_up(50 / day, 0.0)
        for _ in range(burst):
            async with gate.slot(0.0) as refusal:
                assert refusal is None
        clock.now += days * day - 1
        assert gate.has_warmed_enough()
        clock.now += day / 50 + 2
        assert not gate.has_warmed_enough()


async def test_a_plan_of_a_lower_rate_is_made_up_for_within_a_day_of_its_own() -> None:
    clock, day = Clock(), 86_400
    gate = Gate("ses", concurrency=10_000, clock=clock)
    gate.warm_up(5_000 / day, 0.0)
    for _ in range(4_000):
        async with gate.slot(0.0):
            pass
    gate.warm_up(50 / day)

    clock.now += day - 1
    assert gate.has_warmed_enough()
    clock.now += day / 50 + 2
    assert not gate.has_warmed_enough()


async def test_a_rate_says_when_it_lets_the_next_call_begin() -> None:
    clock = Clock()
    gate = Gate("ses", concurrency=100, rate=2.0, clock=clock)
    assert gate.next_begins_in_s() == 0
    async with gate.slot(0.0):
        assert gate.next_begins_in_s() == 0.5
    gate.warm_up(0.25, 0.0)
    assert (gate.next_begins_in_s(), gate.next_begins_in_s(urgent=False)) == (0.5, 4)
    assert gate.next_begins_in_s(urgent=False, planned=False) == 0.5

    clock.now += 1
    assert (gate.next_begins_in_s(), gate.next_begins_in_s(urgent=False)) == (0, 3)


async def test_what_is_not_planned_waits_for_the_other_rates_alone() -> None:
    gate = Gate("ses", concurrency=100, clock=Clock())
    gate.warm_up(50 / 86_400, 0.0)
    assert (gate.may_begin(0, urgent=False), gate.may_begin(0, urgent=False, planned=False)) == (0, math.inf)

    gate.record(THROTTLED)
    assert gate.may_begin(0, urgent=False, planned=False) <= 1
