"""Candidates of a provider that rests wait; where nobody else would find out that it works again, one goes ahead."""

from pathlib import Path
from typing import Any, cast

from app.replay.running import World, _Sending
from schemas.replay_jobs import ReplayFilters, ReplayJob
from schemas.replays import ReplayRequest
from schemas.sends import Send

RID = "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e"


def request(send_id: str, provider: Any = "fcm", called: Any = None) -> ReplayRequest:
    send = Send(
        send_id=send_id,
        notification_id="n",
        user_id="ada",
        channel="push",
        event_type="a.b",
        category="orders",
        priority="normal",
        policy_version=1,
        created_at=0,
        accepted_at=0,
        expires_at=1,
        provider=provider,
    )
    return ReplayRequest(replay_id=RID, user_id="ada", send=send, provider=called, dry_run=True)


def sending(resting: set[str], idle: set[str]) -> _Sending:
    nothing: Any = None
    world = World(
        client_options={},
        partitions=1,
        publisher=nothing,
        jobs=nothing,
        ledger=nothing,
        folder=Path(),
        is_open=lambda provider: provider in resting,
        is_idle=lambda provider: provider in idle,
        order=lambda _: ("fcm",),
        clock=lambda: 0,
    )
    filters = ReplayFilters(from_ms=0, to_ms=1)
    job = ReplayJob(replay_id=RID, by="ops", at=0, channel="push", filters=filters, rate=1, per_ms=1000)
    return _Sending(world, job)


async def test_a_candidates_provider_is_that_of_its_last_attempt_else_the_first_able() -> None:
    job = sending({"fcm"}, set())

    assert job._rests(request("a"))
    assert not job._rests(request("b", provider="apns"))
    assert job._rests(request("c", provider="apns", called="fcm"))
    assert not job._rests(request("d", provider=None)), "of whom nothing is known: the router decides"


async def test_of_an_idle_provider_one_candidate_goes_ahead_and_no_other_for_a_while() -> None:
    job = sending({"fcm"}, {"fcm"})
    rest = [job._rests(request(name)) for name in "abc"]

    assert rest == [False, True, True]
    assert not job._rests(request("a")), "the one that goes ahead waits for nothing but its pace"
    job._probed = cast(Any, {"fcm": job._loop.time() - 11})
    assert [job._rests(request(name)) for name in "bc"] == [False, True]


async def test_of_one_that_is_paused_or_that_others_call_none_goes_ahead() -> None:
    job = sending({"fcm"}, set())

    assert all(job._rests(request(name)) for name in "abc")
