"""Many requests in few calls: none too large, each once, in order, each with what came of it."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.clients.conftest import Served
from tocsin.client import AsyncTocsin, Limits, Retrying, Tocsin, TocsinError, TooLarge, Unreachable
from tocsin.client.answers import Accepted
from tocsin.client.batching import MOST_BYTES, Pile, bulk_call, in_calls

HELLO = {"title": "Hello", "body": "You have mail."}
WAIT_S = 60.0


def said(*users: str) -> list[Any]:
    return [{"user_id": user, "event_type": "mail.came", "content": HELLO} for user in users]


# --- what goes into a call ---


@given(st.lists(st.integers(1, 400), max_size=60), st.integers(1, 20), st.integers(50, 1_000))
def test_no_call_exceeds_its_limits_and_each_request_goes_once(sizes: Sequence[int], most: int, octets: int) -> None:
    pile: Pile[int] = Pile(Limits(most, octets))
    calls = []
    for number, size in enumerate(sizes):
        pile.add(b"x" * size, number)
        if pile.is_full:
            calls.append(pile.take())
    while len(pile):
        calls.append(pile.take())

    assert [number for call in calls for _, number in call] == list(range(len(sizes)))
    for call in calls:
        assert 1 <= len(call) <= most
        whole = bulk_call([request for request, _ in call]).body
        assert isinstance(whole, bytes)
        assert len(whole) <= octets or len(call) == 1


def test_what_the_gateway_takes_at_most_is_what_a_call_may_have() -> None:
    for requests, octets in ((0, 1), (1_001, 1), (1, 0), (1, MOST_BYTES + 1)):
        with pytest.raises(ValueError, match="a call takes"):
            Limits(requests, octets)


def test_each_request_has_a_key_of_its_own_before_any_attempt() -> None:
    [call] = in_calls(said("ann", "bob"), Limits())
    keys = [msgspec.json.decode(request)["idempotency_key"] for request in call]

    assert len(set(keys)) == 2


# --- what comes of it ---


def accepted(request: httpx.Request) -> httpx.Response:
    asked = msgspec.json.decode(request.read())["requests"]
    results = [
        {"notification_id": each["user_id"], "recipients": 1, "status": "accepted"}
        if each["user_id"] != "bad"
        else {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "is bad", "field": "user_id"}
        for each in asked
    ]
    return httpx.Response(202, json={"results": results})


def shown(results: Sequence[Any]) -> list[str]:
    return [each.notification_id if isinstance(each, Accepted) else type(each).__name__ for each in results]


def blocking(handler: Any = accepted) -> Tocsin:
    http = httpx.Client(transport=httpx.MockTransport(handler))
    return Tocsin("http://gateway", "key", http=http, retrying=Retrying(attempts=1))


def awaiting(handler: Any = accepted) -> AsyncTocsin:
    http = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    return AsyncTocsin("http://gateway", "key", http=http, retrying=Retrying(attempts=1))


def away(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


def test_one_that_is_refused_harms_no_other() -> None:
    assert shown(blocking().send_many(said("ann", "bad", "bob"))) == ["ann", "Malformed", "bob"]


async def test_one_that_is_refused_harms_no_other_when_awaited() -> None:
    assert shown(await awaiting().send_many(said("ann", "bad", "bob"))) == ["ann", "Malformed", "bob"]


def test_a_call_that_fails_leaves_the_others_results() -> None:
    calls: list[int] = []

    def second_is_lost(request: httpx.Request) -> httpx.Response:
        calls.append(1)
        return away(request) if len(calls) == 2 else accepted(request)

    results = blocking(second_is_lost).send_many(said("a", "b", "c", "d", "e"), limits=Limits(2))

    assert shown(results) == ["a", "b", "Unreachable", "Unreachable", "e"]


def test_an_answer_with_too_few_results_is_none() -> None:
    short = blocking(lambda _: httpx.Response(202, json={"results": []}))

    assert shown(short.send_many(said("ann"))) == ["BadAnswer"]


def test_a_result_of_another_server_is_an_error_all_the_same() -> None:
    odd = blocking(lambda _: httpx.Response(202, json={"results": [{"status": "bad"}, {"status": None}]}))

    assert shown(odd.send_many(said("ann", "bob"))) == ["ProblemError"] * 2


#: A busy machine may take its time for a thousand.
PATIENT = Retrying(timeout_s=120.0, total_s=300.0)


@pytest.mark.parametrize("count", [1, 1_001])
def test_the_gateway_takes_as_many_as_there_are(count: int, served: Served) -> None:
    with Tocsin(served.url, served.keys["shop"], retrying=PATIENT) as client:
        results = client.send_many(said(*(f"u{n}" for n in range(count))))

    assert len({each.notification_id for each in results if isinstance(each, Accepted)}) == count


def test_one_that_is_too_large_is_refused_alone_by_the_gateway(served: Served) -> None:
    large: Any = {**said("ann")[0], "content": {"title": "t", "body": "x" * 300_000}}
    with Tocsin(served.url, served.keys["shop"]) as client:
        results = client.send_many([*said("ann"), large, *said("bob")])

    assert [type(each) for each in results] == [Accepted, TooLarge, Accepted]


# --- the batcher ---


def test_a_full_call_is_sent_at_once() -> None:
    with blocking().batcher(latency_s=3_600, limits=Limits(2)) as batcher:
        futures = [batcher.add(**each) for each in said("ann", "bob")]

        assert shown([each.result(WAIT_S) for each in futures]) == ["ann", "bob"]


def test_what_waits_is_sent_after_the_latency() -> None:
    with blocking().batcher(latency_s=0.01) as batcher:
        assert shown([batcher.add(**said("ann")[0]).result(WAIT_S)]) == ["ann"]


def test_a_flush_returns_when_all_have_their_results() -> None:
    with blocking().batcher(latency_s=3_600, limits=Limits(3)) as batcher:
        futures = [batcher.add(**each) for each in said(*"abcdefg")]
        batcher.flush()

        assert all(each.done() for each in futures)
        batcher.flush()  # of nothing


def test_leaving_sends_what_is_left_and_takes_no_more() -> None:
    with blocking().batcher(latency_s=3_600) as batcher:
        future = batcher.add(**said("ann")[0])

    assert shown([future.result(0)]) == ["ann"]
    with pytest.raises(RuntimeError, match="closed"):
        batcher.add(**said("ann")[0])


def test_whoever_adds_waits_while_too_many_wait() -> None:
    may_answer = threading.Event()

    def held(request: httpx.Request) -> httpx.Response:
        assert may_answer.wait(WAIT_S)
        return accepted(request)

    with blocking(held).batcher(latency_s=0, limits=Limits(1), most_waiting=1) as batcher:
        added: list[str] = []

        def add_all() -> None:
            for each in said(*"abcde"):
                batcher.add(**each)
                added.append(each["user_id"])

        adding = threading.Thread(target=add_all)
        adding.start()
        adding.join(0.2)
        assert len(added) <= 3  # one is with the gateway, one waits
        may_answer.set()
        adding.join(WAIT_S)
        assert added == list("abcde")


def test_refusals_are_shown_to_whoever_asked_for_them() -> None:
    refused: list[tuple[str, str]] = []

    def note(notification: Any, error: TocsinError) -> None:
        refused.append((notification["user_id"], type(error).__name__))
        raise RuntimeError("a bug of the caller's")

    with blocking().batcher(on_refused=note) as batcher:
        futures = [batcher.add(**each) for each in said("bad", "ann", "bad")]

    assert shown([each.result(0) for each in futures]) == ["Malformed", "ann", "Malformed"]
    assert refused == [("bad", "Malformed")] * 2


def test_without_a_gateway_each_has_its_error(caplog: pytest.LogCaptureFixture) -> None:
    with blocking(away).batcher() as batcher:
        future = batcher.add(**said("ann")[0])

    assert isinstance(future.result(0), Unreachable)
    assert "mail.came" in caplog.text
    assert "You have mail" not in caplog.text


def test_many_threads_may_add(served: Served) -> None:
    futures: list[Any] = []
    with Tocsin(served.url, served.keys["shop"]) as client, client.batcher(limits=Limits(7)) as batcher:
        threads = [
            threading.Thread(target=lambda n=n: futures.extend(batcher.add(**each) for each in said(*[f"{n}"] * 20)))
            for n in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)

    assert sum(isinstance(each.result(0), Accepted) for each in futures) == 100


async def test_the_awaiting_batcher_sends_full_calls_late_ones_and_the_rest() -> None:
    async with awaiting().batcher(latency_s=3_600, limits=Limits(2)) as batcher:
        futures = [await batcher.add(**each) for each in said("ann", "bad")]
        async with asyncio.timeout(WAIT_S):
            assert shown([await each for each in futures]) == ["ann", "Malformed"]
        waiting = await batcher.add(**said("bob")[0])
        await batcher.flush()
        assert shown([waiting.result()]) == ["bob"]
        left = await batcher.add(**said("cid")[0])
    assert shown([left.result()]) == ["cid"]
    with pytest.raises(RuntimeError, match="closed"):
        await batcher.add(**said("ann")[0])

    async with awaiting().batcher(latency_s=0.01) as batcher, asyncio.timeout(WAIT_S):
        assert shown([await (await batcher.add(**said("dan")[0]))]) == ["dan"]


def test_a_caller_that_gives_up_harms_no_other() -> None:
    with blocking().batcher(latency_s=3_600, limits=Limits(2)) as batcher:
        lone = batcher.add(**said("zoe")[0])
        assert lone.cancel()
        other = batcher.add(**said("bob")[0])
        later = batcher.add(**said("cid")[0])

    assert shown([other.result(WAIT_S), later.result(WAIT_S)]) == ["bob", "cid"]
    assert lone.cancelled()


async def test_a_caller_that_gives_up_harms_no_other_when_awaited() -> None:
    async with awaiting().batcher(latency_s=3_600) as batcher:
        one, other = [await batcher.add(**each) for each in said("ann", "bob")]
        one.cancel()

    assert shown([other.result()]) == ["bob"]


class Held:
    """A gateway that answers when it may."""

    def __init__(self) -> None:
        self.is_asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.is_asked.set()
        await self.may_answer.wait()
        return accepted(request)


async def test_whoever_is_cancelled_while_closing_leaves_the_rest_to_be_sent() -> None:
    held, futures = Held(), list[asyncio.Future[Any]]()

    async def use() -> None:
        async with awaiting(held).batcher(latency_s=3_600, limits=Limits(1)) as batcher:
            futures.extend([await batcher.add(**each) for each in said("ann", "bob")])

    using = asyncio.create_task(use())
    async with asyncio.timeout(WAIT_S):
        await held.is_asked.wait()
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        held.may_answer.set()
        assert shown([await each for each in futures]) == ["ann", "bob"]


async def test_a_batcher_that_is_cancelled_leaves_nobody_waiting() -> None:
    held, before = Held(), asyncio.all_tasks()
    refused: list[str] = []
    batcher = awaiting(held).batcher(
        latency_s=0, limits=Limits(1), most_waiting=1, on_refused=lambda each, _: refused.append(str(each["user_id"]))
    )
    async with asyncio.timeout(WAIT_S), batcher:
        [worker] = asyncio.all_tasks() - before
        sent = await batcher.add(**said("ann")[0])
        await held.is_asked.wait()
        waits = await batcher.add(**said("bob")[0])
        adding = asyncio.create_task(batcher.add(**said("cid")[0]))
        flushing = asyncio.create_task(batcher.flush())
        await asyncio.wait([adding, flushing], timeout=0)
        worker.cancel()
        await flushing
        with pytest.raises(RuntimeError, match="closed"):
            await adding

    results = [sent.result(), waits.result()]
    assert [each.is_in_doubt for each in results if isinstance(each, Unreachable)] == [True, False]
    assert refused == ["ann", "bob"]


def test_a_loop_that_ends_leaves_no_future_without_a_result() -> None:
    async def left() -> list[asyncio.Future[Any]]:
        held = Held()
        batcher = await awaiting(held).batcher(latency_s=0, limits=Limits(1)).__aenter__()
        futures = [await batcher.add(**each) for each in said("ann", "bob")]
        await held.is_asked.wait()
        return futures

    assert shown([each.result() for each in asyncio.run(left())]) == ["Unreachable"] * 2


async def test_whoever_adds_waits_for_the_awaiting_batcher_too() -> None:
    may_answer = asyncio.Event()

    async def held(request: httpx.Request) -> httpx.Response:
        await may_answer.wait()
        return accepted(request)

    async with awaiting(held).batcher(latency_s=0, limits=Limits(1), most_waiting=1) as batcher:
        added: list[str] = []

        async def add_all() -> None:
            for each in said(*"abcde"):
                await batcher.add(**each)
                added.append(each["user_id"])

        adding = asyncio.create_task(add_all())
        await asyncio.wait([adding], timeout=0.2)
        assert len(added) <= 3
        may_answer.set()
        async with asyncio.timeout(WAIT_S):
            await adding
    assert added == list("abcde")
