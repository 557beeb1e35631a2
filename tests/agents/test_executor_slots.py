"""What may be claimed and read: slots, rates, plans, and who goes first."""

import asyncio
import time

from agents.executor import GatedExecutor
from app.domain.outcome import AT_CAPACITY, CIRCUIT_OPEN, WARMING_UP, Outcome
from app.ports import Urgency
from app.providers.gate import Gate, GatedClient
from tests.agents.executing import PUSH, Gatekeeper, a_call, performing, taken


async def test_no_more_is_claimed_than_a_rate_has_tokens_for() -> None:
    client, seconds = Gatekeeper(), [0.0]
    executor, _ = performing(client, limit=100, concurrency=100, rate=40.0, monotonic=lambda: seconds[0])
    assert taken(executor, 6) == 6  # 4 at once, 2 while their claims become durable
    assert executor.room(Urgency.NORMAL) == 0
    assert executor.room(Urgency.CRITICAL) == 94

    seconds[0] += 0.05
    assert executor.room(Urgency.NORMAL) == 0  # as long as the calls of those have not begun
    tasks = [asyncio.create_task(executor.perform(a_call(str(n), str(n)))) for n in range(4)]
    await client.has_begun(4)
    seconds[0] += 0.05
    assert executor.room(Urgency.NORMAL) == 2

    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_nothing_waits_for_a_probes_slot_and_records_are_read_meanwhile() -> None:
    client, seconds = Gatekeeper(), [0.0]
    executor, gate = performing(client, monotonic=lambda: seconds[0])
    gate.breaker._open("outage", 0.0)
    seconds[0] = 2.0
    assert executor.take("apns", (b"probe", 1), urgent=False) is None
    refusal = executor.take("apns", (b"a", 1), urgent=True)
    probe = asyncio.create_task(executor.perform(a_call("probe")))
    await client.has_begun(1)
    seconds[0] = 10.0  # it hangs
    other = executor.take("apns", (b"b", 1), urgent=False)

    assert [each.code for each in (refusal, other) if each is not None] == [CIRCUIT_OPEN, CIRCUIT_OPEN]
    assert executor.room(Urgency.NORMAL) > 0
    client.answer("probe", Outcome("retry"))
    await probe


async def test_nothing_is_claimed_of_a_paused_provider_and_records_are_read() -> None:
    client = Gatekeeper()
    executor, gate = performing(client, concurrency=2)
    assert taken(executor, 2, urgent=True) == 2
    calls = [asyncio.create_task(executor.perform(a_call(str(n), str(n)))) for n in range(2)]
    await client.has_begun(2)
    gate.pause()
    late = await executor.perform(a_call("late"))

    assert taken(executor, 5, urgent=True, first=2) == 0
    assert late.outcome is not None
    assert late.outcome.code == CIRCUIT_OPEN
    assert executor.room(Urgency.NORMAL) > 0
    for n in range(2):
        client.answer(str(n))
    assert [(await call).outcome for call in calls] == [Outcome("ok")] * 2
    assert client.begun == ["0", "1"]


async def test_claims_are_bounded_by_a_providers_slots_and_some_are_kept_for_critical_ones() -> None:
    executor, _ = performing(Gatekeeper(), limit=100, reserved=2, concurrency=10)

    assert taken(executor, 20) == 8
    assert taken(executor, 20, urgent=True, first=20) == 2
    refusal = executor.take("apns", (b"x", 1), urgent=True)
    assert refusal is not None
    assert refusal.code == AT_CAPACITY


async def test_a_claim_that_is_made_again_keeps_its_one_slot() -> None:
    executor, _ = performing(Gatekeeper(), concurrency=10, limit=100)

    assert [executor.take("apns", (b"a", 1), urgent=False) for _ in range(20)] == [None] * 20
    assert executor.room(Urgency.NORMAL) == 7


async def test_a_slot_that_was_kept_for_a_claim_that_was_rolled_back_is_free_again() -> None:
    seconds = [0.0]
    executor, _ = performing(Gatekeeper(), concurrency=10, limit=100, monotonic=lambda: seconds[0])
    assert taken(executor, 20) == 8
    seconds[0] += 30

    assert executor.room(Urgency.NORMAL) == 8


async def test_a_provider_without_slots_takes_none_of_the_others() -> None:
    gates = {name: Gate(name, concurrency=10) for name in PUSH}
    executor = GatedExecutor({n: GatedClient(Gatekeeper(), gate) for n, gate in gates.items()}, limit=100, reserved=2)

    assert taken(executor, 20, provider="apns") == 8
    assert executor.room(Urgency.NORMAL) == 8
    assert taken(executor, 20, provider="fcm", first=20) == 8


async def test_calls_that_only_wait_for_their_answers_leave_room_to_prepare_others() -> None:
    client = Gatekeeper()
    executor, _ = performing(client, limit=3, reserved=1, concurrency=100)
    tasks = [asyncio.create_task(executor.perform(a_call(name, name))) for name in ("a", "b")]
    await client.has_begun(2)
    assert executor.room(Urgency.NORMAL) == 0
    async with asyncio.timeout(30):
        while executor.room(Urgency.NORMAL) < 2:
            await asyncio.sleep(0.01)
    for name in ("a", "b"):
        client.answer(name)
    await asyncio.gather(*tasks)

    assert executor.room(Urgency.CRITICAL) == 3


async def test_a_resting_lane_gives_no_slot_and_says_how_long_it_rests() -> None:
    executor, gate = performing(Gatekeeper())
    gate.record(Outcome("config"))
    gate.breaker.begin(time.monotonic())

    refusal = executor.take("apns", (b"a", 1), urgent=False)
    assert refusal is not None
    assert refusal.code == CIRCUIT_OPEN
    assert refusal.retry_after_ms is not None


async def test_a_provider_without_a_rate_makes_room_whatever_holds_the_other_back() -> None:
    rates = zip(PUSH, (1.0, None), strict=True)
    gates = {name: Gate(name, concurrency=10, rate=rate) for name, rate in rates}
    clients = {name: GatedClient(Gatekeeper(), gate) for name, gate in gates.items()}
    executor = GatedExecutor(clients, limit=10, reserved=2)

    assert executor.room(Urgency.NORMAL) == 8


async def test_a_plan_that_is_used_up_keeps_nothing_from_being_read() -> None:
    """Timers, receipts and results are: what has to wait for the plan is queued, and expires in its time."""
    client = Gatekeeper()
    executor, gate = performing(client)
    gate.warm_up(50 / 86_400)
    assert executor.take("apns", (b"a", 1), urgent=False) is None
    client.answer("a")
    await executor.perform(a_call("a"))

    assert gate.has_warmed_enough()
    assert executor.room(Urgency.RECEIPTS) > 0
    refused = executor.take("apns", (b"b", 1), urgent=False)
    assert refused is not None
    assert refused.code == WARMING_UP


async def test_what_falls_due_and_receipts_wait_for_no_providers_rate_or_slots() -> None:
    executor, _ = performing(Gatekeeper(), limit=100, concurrency=100, rate=2.0, monotonic=lambda: 1_000.0)
    assert taken(executor, 100) == 1
    assert (executor.room(Urgency.RECEIPTS), executor.room(Urgency.NORMAL)) == (97, 0)

    executor, _ = performing(Gatekeeper(), limit=100, concurrency=10)
    assert taken(executor, 100) == 8
    assert (executor.room(Urgency.RECEIPTS), executor.room(Urgency.NORMAL)) == (90, 0)


async def test_whoever_a_rate_held_back_goes_before_what_is_not_read_yet() -> None:
    seconds = [1_000.0]
    executor, _ = performing(Gatekeeper(), limit=100, concurrency=100, rate=2.0, monotonic=lambda: seconds[0])
    assert taken(executor, 2) == 1
    executor._release((b"0", 1))
    seconds[0] += 0.1
    assert executor.room(Urgency.NORMAL) == 0

    assert taken(executor, 1, first=1) == 1
    executor._release((b"1", 1))
    assert executor.room(Urgency.NORMAL) == 1

    assert taken(executor, 2, first=2) == 1
    executor._release((b"2", 1))
    seconds[0] += 1.4
    assert executor.room(Urgency.NORMAL) == 1  # whoever was held back may have ended meanwhile


async def test_what_is_bulk_waits_for_all_that_a_rate_holds_back_and_holds_up_bulk_alone() -> None:
    seconds = [1_000.0]
    executor, _ = performing(Gatekeeper(), limit=100, concurrency=100, rate=0.5, monotonic=lambda: seconds[0])

    def rooms() -> tuple[bool, bool]:
        return executor.room(Urgency.NORMAL) > 0, executor.room(Urgency.BULK) > 0

    assert taken(executor, 2, bulk=True) == 1
    executor._release((b"0", 1))
    assert rooms() == (True, False)

    assert taken(executor, 1, first=2, urgent=True) == 1  # a critical one is none of those that wait
    executor._release((b"2", 1))
    assert rooms() == (True, False)

    seconds[0] += 2
    assert rooms() == (True, True)
    assert taken(executor, 2, first=3) == 1
    executor._release((b"3", 1))
    assert rooms() == (False, False)


async def test_what_a_rate_holds_back_learns_when_its_token_is_due() -> None:
    executor, gate = performing(Gatekeeper(), limit=100, concurrency=100, rate=0.5, monotonic=lambda: 1_000.0)
    assert taken(executor, 1) == 1
    async with gate.slot(0.0):
        refused = executor.take("apns", (b"1", 1), urgent=False)

    assert refused is not None
    assert refused.code == AT_CAPACITY
    assert refused.retry_after_ms == 2_000


async def test_room_shrinks_with_calls_in_hand_and_keeps_a_share_for_critical_ones() -> None:
    client = Gatekeeper()
    executor, _ = performing(client, limit=3, reserved=1)
    assert (executor.room(Urgency.CRITICAL), executor.room(Urgency.NORMAL)) == (3, 2)
    tasks = [asyncio.create_task(executor.perform(a_call(name, name))) for name in ("a", "b")]
    await client.has_begun(2)
    room = executor.room(Urgency.CRITICAL), executor.room(Urgency.NORMAL)
    for name in ("a", "b"):
        client.answer(name)
    await asyncio.gather(*tasks)

    assert room == (1, 0)
    assert executor.room(Urgency.NORMAL) == 2


async def test_what_a_plan_to_warm_up_holds_back_is_told_from_a_full_lane() -> None:
    executor, gate = performing(Gatekeeper(), monotonic=lambda: 1_000.0)
    gate.warm_up(1 / 3600)
    claims = [(b"a", 1), (b"b", 1), (b"c", 1)]

    assert executor.take("apns", claims[0], urgent=False) is None
    async with gate.slot(5.0):
        pass
    refusal = executor.take("apns", claims[1], urgent=False)
    assert refusal is not None
    assert refusal.code == WARMING_UP
    assert executor.take("apns", claims[2], urgent=True) is None


async def test_a_claim_of_a_plans_last_call_holds_back_the_others_as_the_call_does() -> None:
    """Else they would wait for a slot of the provider, though another one is free."""
    executor, gate = performing(Gatekeeper(), monotonic=lambda: 1_000.0)
    gate.warm_up(1 / 3600)
    assert executor.take("apns", (b"a", 1), urgent=False) is None

    refusal = executor.take("apns", (b"b", 1), urgent=False)

    assert refusal is not None
    assert refusal.code == WARMING_UP
    assert executor.take("apns", (b"c", 1), urgent=False, planned=False) is None
