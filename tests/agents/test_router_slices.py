"""Work of any size behind one record: done in slices, in force at once, with one end for each recipient."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from agents.router import close_digest
from agents.shared import slices
from schemas.instants import parse_ms, rfc3339
from schemas.words import ENDS
from tests.agents.harness import HOUR, MINUTE, NOON, POLICY, Harness
from tests.agents.test_router_balance import play, recipient, steps
from tests.agents.test_router_digest import SOCIAL
from tests.agents.test_router_rules import QUIET

LATER = rfc3339(NOON + 2 * HOUR)
MANY = 25


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "ROWS", 4)
    monkeypatch.setattr(slices, "_PAGE", 3)
    monkeypatch.setattr(close_digest, "_AT_ONCE", 2)


def many_scheduled(count: int = MANY, policy: str = POLICY) -> Harness:
    """As many users with a notification of one campaign that waits for its time."""
    router = Harness(policy=policy)
    for number in range(count):
        router.known(f"user-{number:02d}", phone=f"+44207183{number:04d}")
        router.request(f"user-{number:02d}", campaign_id="c1", source="shop", send_at=LATER)
    router.forget()
    return router


def ends(router: Harness) -> Counter[tuple[Any, ...]]:
    """How each channel that never was queued, and each notification without channels, ended."""
    return Counter(
        (e["user_id"], e["notification_id"], e["status"], e["reason"]) for e in router.events if e["status"] in ENDS
    )


def test_a_slice_ends_no_more_than_its_share_and_the_rest_follows() -> None:
    router = many_scheduled()
    router.command("notification.cancel", None, campaign_id="c1")
    first = len(router.events)
    router.wait_until_now()

    assert first == 4
    assert Counter(event["user_id"] for event in router.events) == {f"user-{n:02d}": 1 for n in range(MANY)}
    assert {event["status"] for event in router.events} == {"cancelled"}
    assert not router.states[0].schedule.scan(b"", None)


def test_what_falls_due_before_its_slice_sees_the_cancel_first() -> None:
    router = many_scheduled()
    router.now = NOON + 2 * HOUR
    router.command("notification.cancel", None, campaign_id="c1")
    router.wait_until_now()

    assert not router.sends
    assert Counter(event["user_id"] for event in router.events) == {f"user-{n:02d}": 1 for n in range(MANY)}
    assert {event["status"] for event in router.events} == {"cancelled"}


def test_a_cancel_leaves_what_other_sources_asked_for_before_and_after_it() -> None:
    router = many_scheduled()
    for number in range(10):
        router.request("user-00", campaign_id="c1", source="other", send_at=LATER, data={"n": number})
    router.command("notification.cancel", None, campaign_id="c1", source="shop")
    for number in range(10):
        router.request("user-01", campaign_id="c1", source="other", send_at=LATER, data={"n": number})
    router.request("user-02", campaign_id="c1", source="shop", send_at=LATER)
    router.after(3 * HOUR)

    assert ends(router).total() == MANY + 1
    assert len(router.sends) == 20 * 2  # push and email


def test_a_cancel_for_one_user_looks_at_that_user_alone() -> None:
    router = many_scheduled()
    router.command("notification.cancel", "user-20", campaign_id="c1")

    assert [event["user_id"] for event in router.events] == ["user-20"]


def test_a_command_that_is_read_again_says_nothing_more() -> None:
    reported = []
    for again in (False, True):
        router = many_scheduled()
        router.command("notification.cancel", None, campaign_id="c1")
        if again:
            router.again(router.log[-1])
        router.wait_until_now()
        reported.append(router.events)
    assert reported[0] == reported[1]


# --- erased ---


def many_waiting(count: int = MANY) -> Harness:
    router = Harness()
    router.known()
    for number in range(count):
        router.request(send_at=LATER, data={"n": number}, collapse_key=f"k{number}")
    router.forget()
    return router


def test_an_erasure_ends_in_slices_what_waits_and_forgets_all_of_it() -> None:
    router = many_waiting()
    router.command("user.erase")
    first = len(router.events)
    router.wait_until_now()

    assert first == 4
    assert set(ends(router).values()) == {1}
    assert {(e["status"], e["reason"]) for e in router.events} == {("suppressed", "erased")}
    state = router.states[0]
    assert all(row.is_forgotten for _, row in state.notifications.scan(b"", None))
    for table in (state.pending.table, state.digests, state.dedup, state.collapses, state.windows, state.schedule):
        assert not table.scan(b"", None), table.spec.name
    assert not state.known.forgetting("ann")


def test_what_is_due_of_an_erased_user_is_not_sent_though_they_began_anew() -> None:
    router = many_waiting()
    router.now = NOON + 2 * HOUR
    router.command("user.erase")
    router.known()
    router.wait_until_now()

    assert not router.sends
    assert sum(ends(router).values()) == MANY


def test_who_begins_anew_keeps_what_is_accepted_afterwards() -> None:
    router = many_waiting()
    router.command("user.erase")
    router.known()
    for number in range(MANY):
        router.request(send_at=LATER, data={"n": number}, collapse_key=f"k{number}")
    renewed = {e["notification_id"] for e in router.events if e["status"] == "accepted"}
    router.after(3 * HOUR)

    assert len(renewed) == MANY
    assert {send.notification_id for send in router.sends} == renewed
    assert sum(ends(router).values()) == MANY


def test_who_is_erased_again_meanwhile_loses_all_of_it() -> None:
    router = many_waiting()
    router.command("user.erase")
    router.known()
    for number in range(MANY):
        router.request(send_at=LATER, data={"again": number})
    router.command("user.erase")
    router.after(3 * HOUR)

    assert not router.sends
    assert sum(ends(router).values()) == 2 * MANY
    assert all(row.is_forgotten for _, row in router.states[0].notifications.scan(b"", None))
    assert not router.states[0].known.forgetting("ann")


def test_the_same_key_is_a_repetition_though_the_first_is_yet_to_be_forgotten() -> None:
    router = many_waiting()
    router.request(send_at=LATER, idempotency_key="zz", data={"n": 1})
    name = router.last()["notification_id"]
    router.command("user.erase")
    router.known()
    router.request(send_at=LATER, idempotency_key="zz", data={"n": 2})
    router.after(10 * MINUTE)

    assert [e["status"] for e in router.events if e["notification_id"] == name] == [
        "accepted",
        "scheduled",
        "suppressed",
        "repeated",
    ]
    assert set(ends(router).values()) == {1}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps)
def test_every_channel_has_one_end_whatever_comes_between_two_slices(script: list[Any]) -> None:
    router = play(script)
    router.at(NOON + 14 * 24 * HOUR)

    accepted = Counter(recipient(event) for event in router.events if event["status"] == "accepted")
    ended = Counter(
        (*recipient(event), event["channel"])
        for event in router.events
        if event["status"] in ENDS and event["send_id"] is None
    )
    queued = {event["send_id"] for event in router.events if event["status"] == "queued"}
    assert set(accepted.values()) <= {1}
    assert set(ended.values()) <= {1}
    assert len(queued) == len(router.sends)
    assert not any(state.pending.table.scan(b"", None) for state in router.states)
    assert not any(state.known.forgetting(user) for state in router.states for user in ("ann", "bob"))


# --- holds and digests of one user ---


def test_holds_that_are_judged_again_in_slices_keep_the_order_of_acceptance() -> None:
    router = Harness(policy=QUIET, now=parse_ms("2026-03-04T23:00:00Z"))
    router.known()
    for number in range(MANY):
        router.request(channels=["push"], data={"n": number})
        router.after(1)
    accepted = [e["notification_id"] for e in router.events if e["status"] == "accepted"]
    router.command("preferences.set", preferences={"quiet_hours": {"enabled": False}})
    at_once = len(router.sends)
    router.wait_until_now()

    assert at_once == 0
    assert [send.notification_id for send in router.sends] == accepted
    assert not router.states[0].schedule.scan(b"", None)


def test_a_large_digest_with_too_few_wanted_lets_each_item_go_by_itself() -> None:
    router = Harness(policy=SOCIAL.replace("min_items: 2", "min_items: 4"))
    router.known()
    for number in range(3):
        router.request(event_type="like.made", channels=["push"], data={"n": number})
    router.after(10 * MINUTE)

    assert [json.loads(bytes(send.data))["n"] for send in router.sends] == [0, 1, 2]
    assert not router.states[0].schedule.scan(b"", None)


def test_each_of_many_digests_is_dropped_once_by_activity() -> None:
    router = Harness(policy=SOCIAL.replace("window: 5m", "drop_when_active: true, window: 5m"))
    router.known()
    for thread in range(MANY):
        for number in range(3):
            message = {"thread": thread, "n": number}
            router.request(event_type="comment.created", channels=["push"], data=message)
    router.command("activity.seen")
    router.after(HOUR)

    assert not router.sends
    assert set(ends(router).values()) == {1}
    assert ends(router).total() == 3 * MANY
