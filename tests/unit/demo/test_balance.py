"""The checker checked: a sound history passes, and each planted violation is found."""

from typing import Any

import pytest

from app.demo.balance import balance
from app.demo.effects import effects_of
from app.demo.playing import Played
from app.demo.report import evaluate, latencies, percentile

WHO = ("n1", "u1")


def event(status: str, channel: str | None = None, send_id: str | None = None, **given: Any) -> dict[str, Any]:
    """An event whose id is its place in the test, unless it is given."""
    event.count += 1  # type: ignore[attr-defined]
    return {
        "event_id": f"e{event.count}",  # type: ignore[attr-defined]
        "notification_id": WHO[0],
        "user_id": WHO[1],
        "channel": channel,
        "send_id": send_id,
        "status": status,
        "reason": None,
        "detail": None,
        "source": "demo",
        "event_type": "flight.delayed",
        "occurred_at": f"2026-11-21T00:00:00.{event.count % 1000:03d}Z",  # type: ignore[attr-defined]
        **given,
    }


event.count = 0  # type: ignore[attr-defined]


def sound() -> list[dict[str, Any]]:
    return [
        event("accepted"),
        event("queued", "push", "s1"),
        event("sending", "push", "s1"),
        event("sent", "push", "s1"),
        event("suppressed", "email", reason="opted_out"),
        event("held", "sms", reason="quiet_hours", detail={"until": "2026-11-21T07:00:00Z"}),
    ]


def test_a_sound_history_is_in_balance() -> None:
    kept = balance([WHO], sound())

    assert kept.holds
    assert kept.outcomes == {
        ("push", "sent", ""): 1,
        ("email", "suppressed", "opted_out"): 1,
        ("sms", "held", "quiet_hours"): 1,
    }


def a_replay(*ends: str, accepted: int = 1) -> list[dict[str, Any]]:
    again = {"channel": "push", "send_id": "again", "replay_id": "r"}
    return [event(status, **again) for status in (*["accepted"] * accepted, "queued", "sending", *ends)]


def test_a_replayed_send_is_balanced_by_itself() -> None:
    kept = balance([WHO], [*sound(), *a_replay("sent")])

    assert kept.holds
    assert kept.outcomes["push", "sent", ""] == 2


@pytest.mark.parametrize("replayed", [a_replay("sent", accepted=2), a_replay("sent", "failed")])
def test_a_replayed_send_that_is_accepted_or_ends_twice_is_found(replayed: list[dict[str, Any]]) -> None:
    assert balance([WHO], [*sound(), *replayed]).problems


@pytest.mark.parametrize("replayed", [a_replay(), a_replay("sent", accepted=0)])
def test_a_replayed_send_that_has_not_ended_or_was_not_accepted_is_open(replayed: list[dict[str, Any]]) -> None:
    assert balance([WHO], [*sound(), *replayed]).open


def test_an_event_that_is_written_twice_counts_once() -> None:
    events = sound()

    assert balance([WHO], [*events, *events]).holds


def test_a_channel_that_waited_and_then_became_its_sends_counts_as_those() -> None:
    waited = event("held", "push", reason="quiet_hours", detail={"until": "2026-11-21T07:00:00Z"})

    assert balance([WHO], [*sound()[:1], waited, event("queued", "push", "s1"), event("sent", "push", "s1")]).holds


@pytest.mark.parametrize(
    ("broken", "where"),
    [
        pytest.param([], "open", id="never accepted"),
        pytest.param([event("accepted"), *sound()], "problems", id="accepted twice"),
        pytest.param([event("accepted")], "open", id="accepted and then nothing"),
        pytest.param([*sound(), event("failed", "push", "s1")], "problems", id="a send that ended twice"),
        pytest.param([*sound(), event("queued", "push", "s2")], "open", id="a send that never ended"),
        pytest.param(
            [event("accepted"), event("held", "push", reason="quiet_hours")], "open", id="a wait without a time"
        ),
    ],
)
def test_a_planted_violation_is_found(broken: list[dict[str, Any]], where: str) -> None:
    kept = balance([WHO], broken)

    assert not kept.holds
    assert getattr(kept, where)


def digested() -> list[dict[str, Any]]:
    """Two that became one."""
    return [
        *[
            told
            for name in ("n1", "n2")
            for told in (
                event("accepted", notification_id=name),
                event("held", "email", reason="digest", detail={"due": "2026-11-21T00:00:02Z"}, notification_id=name),
                event("aggregated", "email", detail={"into": "d1"}, notification_id=name),
            )
        ],
        event("accepted", notification_id="d1", source="tocsin"),
        event("queued", "email", "s1", notification_id="d1", source="tocsin"),
        event("sent", "email", "s1", notification_id="d1", source="tocsin"),
    ]


def test_what_was_gathered_has_ended_and_the_digest_is_judged_too() -> None:
    kept = balance([WHO, ("n2", "u1")], digested())

    assert kept.holds
    assert kept.outcomes == {("email", "aggregated", ""): 2, ("email", "sent", ""): 1}


def test_a_digest_that_was_never_told_or_never_ended_is_found() -> None:
    *_, queued, _ = digested()

    assert not balance([WHO, ("n2", "u1")], digested()[:-3]).holds
    assert not balance([WHO, ("n2", "u1")], [*digested()[:-3], digested()[-3], queued]).holds


def test_a_digest_of_nothing_is_a_fault() -> None:
    assert balance([], digested()[-3:]).problems == ["('d1', 'u1'): a digest of nothing"]


def test_effects_count_what_each_rule_did_once() -> None:
    quiet = {"until": "2026-11-21T07:00:00Z"}
    step = [("fallback", True, 1)]
    events = [
        *digested(),
        event("held", "email", reason="digest", notification_id="alone"),
        event("queued", "email", "s9", notification_id="alone"),
        event("sent", "email", "s9", notification_id="alone"),
        event("held", "push", reason="quiet_hours", detail=quiet, notification_id="slept"),
        event("held", "push", reason="quiet_hours", detail=quiet, notification_id="woke"),
        event("queued", "push", "s8", notification_id="woke"),
        event("sent", "push", "s8", notification_id="woke"),
        event("opened", "push", "s8", notification_id="woke"),
        event(
            "suppressed", "email", reason="rate_cap", detail={"cap": "week", "used_by": []}, notification_id="capped"
        ),
        event("suppressed", "push", reason="replaced", detail={"by": "n9"}, notification_id="old"),
        event("scheduled", notification_id="off"),
        event("cancelled", notification_id="off", event_type="checkin.open"),
        event("queued", "push", "s5", detail={"trail": [("fallback", True, 0)]}, notification_id="chain"),
        event("cancelled", "push", "s5", notification_id="chain"),
        event("queued", "sms", "s6", detail={"trail": step}, notification_id="chain"),
        event("sent", "sms", "s6", notification_id="chain"),
    ]
    found = effects_of([*events, *events])

    assert (found.gathered, found.digests, found.singly) == (2, 1, 1)
    assert (found.quiet, found.after_quiet) == (2, {"still waits": 1, "sent": 1})
    assert found.capped == {("week", "suppressed"): 1}
    assert (found.replaced, found.scheduled, found.cancelled) == (1, 1, {"checkin.open": 1})
    assert (found.chains, found.next_steps, found.taken_back) == (1, 1, 1)
    assert found.examples["fallback"] == ("chain", "u1")


def test_what_is_called_off_and_begun_all_the_same_is_a_fault() -> None:
    late = event("sending", "push", "s1", occurred_at="2026-11-21T00:00:03.000Z")
    called_off = Played(recipients={WHO}, called_off={WHO: 1_795_219_200_000})

    assert evaluate(called_off, balance([], []), [late], [], []).faults == [
        "called off, and begun more than a second later: s1"
    ]
    in_time = Played(recipients={WHO}, called_off={WHO: 1_795_219_202_500})
    assert evaluate(in_time, balance([], []), [late], [], []).faults == []


def played() -> Played:
    return Played(recipients={WHO})


def at_provider(send_id: str = "s1", at_ms: int = 0) -> dict[str, Any]:
    return {"send_id": send_id, "notification_id": WHO[0], "at_ms": at_ms}


def faults(events: list[dict[str, Any]], accepted: list[dict[str, Any]]) -> list[str]:
    return evaluate(played(), balance([WHO], events), events, accepted, []).faults


def test_what_is_sent_and_at_the_provider_is_no_fault() -> None:
    assert faults(sound(), [at_provider()]) == []


def test_sent_but_not_at_the_provider_is_a_fault() -> None:
    assert faults(sound(), []) == ["sent, but not at the provider: s1"]


def test_at_the_provider_but_never_queued_is_a_fault() -> None:
    assert faults(sound(), [at_provider(), at_provider("s9")]) == ["at the provider, but never queued: s9"]


def test_a_second_copy_at_the_provider_is_counted() -> None:
    events = sound()

    assert evaluate(played(), balance([WHO], events), events, [at_provider(), at_provider()], []).duplicates == 1


def test_latency_counts_from_accepted_and_leaves_out_what_had_to_wait() -> None:
    begun = event("accepted", occurred_at="2026-11-21T00:00:00.000Z")
    direct = [event("queued", "push", "s1"), event("queued", "email", "s2"), event("retrying", "email", "s2")]
    arrived = [at_provider("s1", 1_795_219_200_040), at_provider("s2", 1_795_219_209_000)]

    assert latencies([begun, *direct], arrived) == {"push": [40]}


def test_percentiles_of_nothing_are_nothing() -> None:
    assert percentile([], 0.5) is None
    assert percentile([1, 2, 3, 4], 0.5) == 3
    assert percentile([1, 2, 3, 4], 0.99) == 4
