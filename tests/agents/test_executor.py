"""Carrying out calls: order, bounds, freshness, time limits."""

import asyncio
import dataclasses

import pytest

from agents.executor import GatedExecutor, unix_ms
from agents.sender.calls import FRESH_MS, Purpose, Result, Seen
from app.domain.outcome import AT_CAPACITY, CIRCUIT_OPEN, Outcome
from app.ports import Address, Handle, Message, Urgency
from app.providers.gate import Gate, GatedClient
from app.providers.wire import QUESTIONS, leaves
from schemas.words import Provider
from tests.agents.executing import Gatekeeper, a_call, performing


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
