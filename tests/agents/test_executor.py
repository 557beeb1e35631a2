"""Carrying out calls: order, bounds, freshness, time limits."""

import asyncio
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import pytest

from agents.executor import GatedExecutor, unix_ms
from agents.sender.calls import FRESH_MS, Call, Purpose, Result, Seen
from app.domain.outcome import AT_CAPACITY, CIRCUIT_OPEN, WARMING_UP, Outcome
from app.ports import Address, Handle, Message, Urgency
from app.providers.gate import Gate, GatedClient
from app.providers.wire import QUESTIONS, leaves, note_status
from schemas.words import Channel, Provider
from tests.unit.providers.factories import a_device, a_handle, a_message

PUSH: tuple[Provider, ...] = ("apns", "fcm")


class Gatekeeper:
    """A provider that answers when it is told to."""

    name: Provider = "apns"
    channel: Channel = "push"
    #: Of its answers.
    status: int | None = None

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.asked: list[str] = []
        self._answers: dict[str, asyncio.Future[Outcome]] = {}
        self._began = asyncio.Condition()

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome:
        self.begun.append(handle.send_id)
        async with self._began:
            self._began.notify_all()
        return await self._answer(handle.send_id)

    async def ask(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome | None:
        self.asked.append(handle.send_id)
        return await self._answer(handle.send_id)

    async def has_begun(self, count: int) -> None:
        async with asyncio.timeout(30), self._began:
            await self._began.wait_for(lambda: len(self.begun) >= count)

    def answer(self, send_id: str, outcome: Outcome | None = None) -> None:
        self._future(send_id).set_result(outcome or Outcome("ok"))

    async def _answer(self, send_id: str) -> Outcome:
        outcome = await self._future(send_id)
        if self.status is not None:
            await asyncio.gather(self._note(self.status))  # as libraries do that make tasks of their own
        return outcome

    async def _note(self, status: int) -> None:
        note_status(status)

    def _future(self, send_id: str) -> "asyncio.Future[Outcome]":
        return self._answers.setdefault(send_id, asyncio.get_running_loop().create_future())


def a_call(name: str, user_id: str = "u1", **changes: Any) -> Call:
    priority = changes.pop("priority", "normal")
    call = Call(
        purpose="send",
        key=name.encode(),
        number=1,
        user_id=user_id,
        provider="apns",
        message=a_message(),
        to=a_device(),
        handle=a_handle(send_id=name, priority=priority),
        claimed_at=unix_ms(),
        timeout_ms=5_000,
    )
    return dataclasses.replace(call, **changes)


def performing(
    client: Gatekeeper,
    *,
    concurrency: int = 10,
    limit: int = 10,
    reserved: int = 2,
    clock: Callable[[], int] = unix_ms,
    rate: float | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> tuple[GatedExecutor, Gate]:
    gate = Gate("apns", concurrency=concurrency, rate=rate, clock=monotonic)
    clients: dict[Provider, GatedClient] = {"apns": GatedClient(client, gate)}
    return GatedExecutor(clients, limit=limit, reserved=reserved, clock=clock, monotonic=monotonic), gate


async def test_a_call_is_made_once_and_its_answer_comes_back() -> None:
    client = Gatekeeper()
    executor, _ = performing(client)
    call = a_call("a")
    client.answer("a", Outcome("ok", provider_message_id="m"))

    assert await executor.perform(call) == Result(call, Outcome("ok", provider_message_id="m"))
    assert client.begun == ["a"]


async def test_each_call_that_was_made_is_counted_by_what_is_believed_of_it() -> None:
    client = Gatekeeper()
    executor, gate = performing(client)
    ended: list[tuple[Provider, str]] = []
    executor._on_call = lambda provider, kind, seconds: ended.append((provider, kind))
    for _ in range(gate.breaker.dead_in_a_row):
        gate.record(Outcome("bad_token"))
    gate.breaker._next_probe_at = 0.0  # a dead address is no evidence now
    client.answer("a", Outcome("bad_token"))
    await executor.perform(a_call("a"))
    gate.breaker._next_probe_at = 0.0
    client.answer("b", Outcome("ok"))
    await executor.perform(a_call("b"))
    await executor.perform(a_call("late", claimed_at=unix_ms() - FRESH_MS))
    client.answer("c", Outcome("ok"))
    await executor.perform(a_call("c", purpose="ask"))

    assert ended == [("apns", "config"), ("apns", "ok")]


@pytest.mark.parametrize("purpose", ["send", "ask"])
async def test_of_a_traced_call_its_times_and_its_status_are_seen(purpose: Purpose) -> None:
    client, clock = Gatekeeper(), iter(range(1_000, 2_000))
    client.status = 202
    client.answer("a")
    executor, _ = performing(client, clock=lambda: next(clock))
    seen = (await executor.perform(a_call("a", purpose=purpose, claimed_at=1_000, traced=True))).seen

    assert seen is not None
    assert seen.began_ms is not None
    assert 1_000 <= seen.began_ms < seen.ended_ms
    assert seen.http_status == 202


async def test_of_a_traced_call_that_was_not_made_nothing_is_seen() -> None:
    executor, _ = performing(Gatekeeper())
    result = await executor.perform(a_call("a", claimed_at=unix_ms() - FRESH_MS, traced=True))

    assert result.seen == Seen()


async def test_users_do_not_wait_for_each_other() -> None:
    client = Gatekeeper()
    executor, _ = performing(client)
    tasks = [asyncio.create_task(executor.perform(a_call(user, user))) for user in ("u1", "u2")]
    await client.has_begun(2)
    for user in ("u2", "u1"):
        client.answer(user)
    results = await asyncio.gather(*tasks)

    assert [result.outcome for result in results] == [Outcome("ok")] * 2


async def test_a_call_whose_look_has_aged_is_not_made() -> None:
    client = Gatekeeper()
    executor, _ = performing(client)
    call = a_call("a", claimed_at=unix_ms() - FRESH_MS)

    assert await executor.perform(call) == Result(call, None)
    assert client.begun == []


async def test_a_look_ages_before_the_call_begins_even_if_the_clock_was_set_back() -> None:
    client = Gatekeeper()
    executor, _ = performing(client, clock=lambda: 1_000_000, monotonic=lambda: 50.0)
    call = a_call("a", claimed_at=1_000_000 + 5_000, fresh_since=50.0 - (FRESH_MS + 1) / 1000)

    assert await executor.perform(call) == Result(call, None)
    assert client.begun == []


async def test_a_call_whose_send_has_expired_since_the_look_is_not_made() -> None:
    client = Gatekeeper()
    executor, _ = performing(client)
    call = a_call("a")
    expired = dataclasses.replace(call.handle, expires_at_ms=unix_ms() - 1)

    assert (await executor.perform(dataclasses.replace(call, handle=expired))).outcome is None
    assert client.begun == []


async def test_a_look_ages_while_the_call_waits_for_a_slot() -> None:
    client = Gatekeeper()
    now = 1_000_000
    executor, _ = performing(client, concurrency=1, clock=lambda: now)
    first = asyncio.create_task(executor.perform(a_call("a", "u1", claimed_at=now)))
    await client.has_begun(1)
    now += FRESH_MS - 20
    second = await executor.perform(a_call("b", "u2", claimed_at=now - FRESH_MS + 20))
    client.answer("a")

    assert (await first).outcome == Outcome("ok")
    assert second.outcome is None
    assert client.begun == ["a"]


async def test_a_full_lane_makes_the_send_look_again() -> None:
    client = Gatekeeper()
    executor, _ = performing(client, concurrency=1)
    first = asyncio.create_task(executor.perform(a_call("a", "u1")))
    await client.has_begun(1)
    second = await executor.perform(a_call("b", "u2"))
    client.answer("a")
    await first

    assert second.outcome is None
    assert client.begun == ["a"]


async def test_a_resting_lane_is_told_as_such_and_nobody_is_called() -> None:
    client = Gatekeeper()
    executor, gate = performing(client)
    gate.record(Outcome("config"))
    gate.breaker.begin(asyncio.get_running_loop().time())
    result = await executor.perform(a_call("a"))

    assert result.outcome is not None
    assert (result.outcome.kind, result.outcome.code) == ("throttle", CIRCUIT_OPEN)
    assert client.begun == []


async def test_what_a_call_came_to_teaches_the_lane() -> None:
    client = Gatekeeper()
    executor, gate = performing(client)
    client.answer("a", Outcome("config", code="InvalidProviderToken"))
    await executor.perform(a_call("a"))

    assert gate.breaker.cause == "config"


async def test_a_client_that_overruns_its_limit_is_cut_off_in_doubt() -> None:
    client = Gatekeeper()
    executor, _ = performing(client)

    assert (await executor.perform(a_call("a", timeout_ms=1))).outcome == Outcome("in_doubt", doubt="timeout")
    assert executor.room(Urgency.CRITICAL) == 10


async def test_a_question_is_put_whatever_its_age() -> None:
    client = Gatekeeper()
    executor, _ = performing(client)
    client.answer("a")
    result = await executor.perform(a_call("a", purpose="ask", claimed_at=0))

    assert result.outcome == Outcome("ok")
    assert client.begun == []


async def test_a_question_that_is_not_answered_in_time_is_no_evidence_of_absence() -> None:
    client = Gatekeeper()
    executor, _ = performing(client)

    asked = await executor.perform(a_call("a", purpose="ask", timeout_ms=1))
    assert asked.outcome == Outcome("in_doubt", doubt="timeout")


async def test_questions_are_put_a_few_at_a_time_and_hold_up_no_send() -> None:
    client = Gatekeeper()
    executor, _ = performing(client, limit=1_000)
    names = [str(number) for number in range(QUESTIONS + 5)]
    tasks = [asyncio.create_task(executor.perform(a_call(name, purpose="ask", timeout_ms=60_000))) for name in names]
    client.answer("send")
    assert (await executor.perform(a_call("send"))).outcome == Outcome("ok")
    async with asyncio.timeout(30):
        while len(client.asked) < QUESTIONS:
            await asyncio.sleep(0)
    assert client.asked == names[:QUESTIONS]

    for name in names:
        client.answer(name)
    await asyncio.gather(*tasks)
    assert client.asked == names


def taken(
    executor: GatedExecutor,
    count: int,
    *,
    urgent: bool = False,
    bulk: bool = False,
    provider: Provider = "apns",
    first: int = 0,
) -> int:
    """How many of so many claims get a slot."""
    claims = [(str(number).encode(), 1) for number in range(first, first + count)]
    return sum(executor.take(provider, claim, urgent=urgent, bulk=bulk) is None for claim in claims)


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


async def test_the_silence_of_a_suspect_address_says_nothing_of_the_provider() -> None:
    client = Gatekeeper()
    executor, gate = performing(client)
    gate.breaker.failures_to_open = 1
    client.answer("a", Outcome("in_doubt", doubt="timeout"))
    await executor.perform(a_call("a", suspect=True))
    assert gate.breaker.cause is None

    client.answer("b", Outcome("in_doubt", doubt="timeout"))
    await executor.perform(a_call("b"))
    assert gate.breaker.cause == "outage"


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


async def test_what_a_rate_holds_back_is_told_when_it_has_a_token() -> None:
    executor, _ = performing(Gatekeeper(), limit=100, concurrency=100, rate=0.5, monotonic=lambda: 1_000.0)
    assert taken(executor, 1) == 1
    begins = executor._clients["apns"].gate.slot(0.0)
    async with begins:
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


def test_what_could_bring_another_call_is_put_off() -> None:
    executor, _ = performing(Gatekeeper())
    send, question = a_call("a"), a_call("a", purpose="ask")

    assert executor.put_off(Result(send, Outcome("ok"))) == Result(send, Outcome("ok"), calls=False)
    assert executor.put_off(Result(send, None)) == Result(send, Outcome("throttle", code=AT_CAPACITY), calls=False)
    asked = executor.put_off(Result(question, None))
    assert asked == Result(question, Outcome("in_doubt", doubt="connection_lost"), calls=False)


@pytest.mark.parametrize(("left", "kind"), [(True, "in_doubt"), (False, "retry")])
async def test_an_unforeseen_error_of_a_client_is_the_outcome_of_its_call_alone(left: bool, kind: str) -> None:
    class Broken(Gatekeeper):
        async def send(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome:
            if left:
                leaves()
            raise ZeroDivisionError

    executor, _ = performing(Broken())
    for name in "ab":  # (what left of the first says nothing of the second)
        outcome = (await executor.perform(a_call(name))).outcome
        assert outcome is not None
        assert (outcome.kind, outcome.code) == (kind, "ZeroDivisionError")
    assert executor.room(Urgency.CRITICAL) == 10


async def test_an_unforeseen_error_of_a_question_is_no_evidence() -> None:
    class Broken(Gatekeeper):
        async def ask(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome | None:
            raise ZeroDivisionError

    counted: list[str] = []
    gate = Gate("apns", concurrency=10)
    executor = GatedExecutor({"apns": GatedClient(Broken(), gate)}, limit=10, reserved=2, on_error=counted.append)
    outcome = (await executor.perform(a_call("a", purpose="ask"))).outcome

    assert outcome == Outcome("in_doubt", code="ZeroDivisionError", doubt="connection_lost")
    assert counted == ["apns"]


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
