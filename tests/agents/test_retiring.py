"""A device that its user loses is reported, once, and a token that moves to another user is counted and logged."""

from typing import Any

import msgspec
import pytest
import structlog

from agents.router.retire_devices import MoveLog
from app.store.lifecycle_rows import COLUMNS, row_of
from schemas import topics
from schemas.lifecycle import encode_lifecycle, read_lifecycle
from tests.agents.harness import MINUTE, NOON, POLICY, Harness, catalog
from tests.agents.test_router_receipts import dead_since
from tests.records import Record

DAY_MS = 24 * 3600 * 1000
PARTITIONS = 4
#: In different partitions of four.
ELSEWHERE = [f"user{n}" for n in range(12)]


def retired(router: Harness) -> list[tuple[str, str, str]]:
    return [(e["user_id"], e["detail"]["device_id"], e["reason"]) for e in router.retired]


@pytest.mark.parametrize("other", ["bob", *ELSEWHERE])
def test_a_device_whose_token_moved_is_retired_once_wherever_its_users_are(other: str) -> None:
    router = Harness(partitions=PARTITIONS)
    router.device("ann", "d1", token="shared")
    router.after(1)
    router.device(other, "d2", token="shared")
    assert retired(router) == [("ann", "d1", "moved")]


def test_a_token_under_another_device_id_of_its_user_retires_the_first() -> None:
    router = Harness()
    router.device("ann", "d1", token="shared")
    router.device("ann", "d2", token="shared")
    router.device("ann", "d2", token="shared")
    assert retired(router) == [("ann", "d1", "moved")]


def test_devices_over_the_limit_are_retired() -> None:
    router = Harness()
    for number in range(23):
        router.after(1)
        router.device("ann", f"d{number}", token=f"t{number}")
    assert retired(router) == [("ann", f"d{number}", "limit") for number in range(3)]


@pytest.mark.parametrize("kind", ["removed", "renewed", "erased", "again"])
def test_what_a_user_does_themselves_retires_nothing(kind: str) -> None:
    router = Harness()
    router.known("ann")
    router.device("ann", "d1", token="first")
    match kind:
        case "removed":
            router.command("device.remove", device_id="d1")
        case "renewed":
            router.device("ann", "d1", token="second")
        case "again":
            router.device("ann", "d1", token="first")
        case _:
            router.command("user.erase")
    assert router.retired == []


def test_a_token_that_its_provider_calls_dead_retires_its_device() -> None:
    router = Harness()
    router.known("ann")
    router.request(channels=["push"])
    [send] = router.sends
    router.after(1_000)
    router.settled(send, "failed", reason="invalid_token", address=dead_since(send, router.now))
    assert retired(router) == [("ann", "d1", "invalid_token")]


def test_the_event_is_of_no_notification_and_a_row_of_its_own() -> None:
    router = Harness()
    router.device("ann", "d1", token="shared")
    router.device("bob", "d2", token="shared")
    [event] = router.retired
    assert {name for name, value in event.items() if value is not None} == {
        "event_id",
        "user_id",
        "status",
        "reason",
        "channel",
        "policy_version",
        "occurred_at",
        "detail",
    }
    assert event["notification_id"] is None
    assert event["detail"] == {"device_id": "d1"}
    raw = msgspec.json.encode(event)
    assert encode_lifecycle(read_lifecycle(raw)) == raw
    row: dict[str, Any] = dict(
        zip(COLUMNS, row_of(Record("notify_lifecycle", 0, 0, router.now, b"ann", raw)), strict=True)
    )
    assert (row["notification_id"], row["send_id"], row["status"]) == ("", None, "device_retired")


# --- moves to another user ---


def move(router: Harness, times: int) -> list[dict[str, Any]]:
    """The log lines of a token that goes back and forth between two users."""
    with structlog.testing.capture_logs() as lines:
        for number in range(times):
            router.after(1)
            router.device(("ann", "bob")[number % 2], "d", token="shared")
    return [dict(line) for line in lines if line["event"] == "a device token moved to another user"]


def test_a_token_always_moves_to_another_user_and_five_moves_a_day_are_logged() -> None:
    router = Harness()
    lines = move(router, 11)
    assert len(lines) == 5
    assert [line["last_today"] for line in lines] == [False] * 4 + [True]
    assert lines[0]["from_user"] == "ann"
    assert lines[0]["to_user"] == "bob"
    assert all("shared" not in str(line) for line in lines)
    assert [len(router.states[0].known.devices(user)) for user in ("ann", "bob")] == [1, 0]
    assert len(router.retired) == 10
    router.at(NOON + DAY_MS)
    assert len(move(router, 12)) == 5


def test_each_token_has_its_own_lines() -> None:
    moves = MoveLog()
    assert [[moves.takes(token, NOON) for _ in range(7)] for token in (b"a", b"b")] == [[1, 2, 3, 4, 5, 0, 0]] * 2
    assert moves.takes(b"a", NOON + DAY_MS) == 1


def test_counting_lines_takes_bounded_memory() -> None:
    moves = MoveLog()
    for number in range(10_500):
        moves.takes(str(number).encode(), NOON)
    assert len(moves._lines) == 10_000


STALE = f"{POLICY}\ndevices: {{stale_after: 270d}}\n"


def test_a_device_that_was_not_renewed_for_so_long_is_retired_within_a_day() -> None:
    router = Harness(policy=STALE)
    router.known("ann")
    router.device("bob", "d1")
    router.after(200 * DAY_MS)
    router.device("bob", "d1")
    router.after(70 * DAY_MS - 1)
    assert retired(router) == []
    router.after(DAY_MS + MINUTE)

    assert retired(router) == [("ann", "d1", "stale")]
    router.request("ann", channels=["push"])
    assert (router.last()["status"], router.last()["reason"]) == ("suppressed", "no_address")
    router.after(201 * DAY_MS)
    assert retired(router) == [("ann", "d1", "stale"), ("bob", "d1", "stale")]


def test_a_policy_that_comes_later_has_devices_swept_from_the_next_record_on() -> None:
    router = Harness()
    router.known("ann")
    router.after(300 * DAY_MS)
    for policy, found in ((STALE, 1), (POLICY, 1), (STALE, 2)):
        router.machine.catalog = catalog(policy)
        router.after(DAY_MS)
        router.command("profile.set", user_id="zoe", name="Zoe")
        router.after(DAY_MS + MINUTE)
        assert len(retired(router)) == found
        router.device("ann", "d2")
        router.after(300 * DAY_MS if policy == POLICY else DAY_MS)


def test_a_device_that_is_renewed_while_it_is_found_stale_is_kept() -> None:
    router = Harness(policy=STALE)
    router.device("ann", "d1")
    router.after(269 * DAY_MS)
    router.forget()
    router.after(2 * DAY_MS)
    [dead] = [said for said in router.broadcasts if said.get("reason") == "stale"]
    kept = Harness(policy=STALE)
    kept.now = router.now
    kept.device("ann", "d1")
    kept.feed(topics.BROADCASTS, b"ann", msgspec.json.encode(dead))

    assert retired(kept) == []


def test_without_a_rule_nothing_is_swept_and_a_rule_that_goes_ends_it() -> None:
    router = Harness()
    router.device("ann", "d1")
    assert not router.states[0].schedule.scan(b"", None, 10)
    swept = Harness(policy=STALE)
    swept.device("ann", "d1")
    swept.machine.catalog = catalog(POLICY)
    swept.after(2 * DAY_MS)
    assert not swept.states[0].schedule.scan(b"", None, 10)
    swept.after(400 * DAY_MS)
    assert retired(swept) == []


def test_of_very_many_devices_a_part_is_swept_at_a_time_and_all_are() -> None:
    router = Harness(policy=STALE)
    for number in range(1_200):
        router.device(f"user{number}", "d1")
    router.forget()
    router.after(270 * DAY_MS)
    at_once = 0
    while len(router.retired) < 1_200:
        before = len(router.broadcasts)
        due = router._virtual[0].next_due()
        assert due is not None
        router.at(due)
        at_once = max(at_once, len(router.broadcasts) - before)
    assert at_once <= 220
    assert len(set(retired(router))) == 1_200
