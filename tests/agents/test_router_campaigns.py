"""What a router does for campaigns: local times, requests that are remembered, and who is in a segment."""

import json
from typing import Any

import pytest

from schemas.decode import Invalid
from schemas.instants import parse_ms, rfc3339
from tests.agents.harness import HOUR, NOON, Harness

DAY = 24 * HOUR
NID = "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e"


@pytest.fixture
def router() -> Harness:
    harness = Harness()
    harness.known()
    return harness


@pytest.mark.parametrize(
    ("zone", "since", "time", "due"),
    [
        ("UTC", "2026-03-05T08:00:00Z", "09:00", "2026-03-05T09:00:00.000Z"),
        ("UTC", "2026-03-05T09:00:00Z", "09:00", "2026-03-05T09:00:00.000Z"),
        ("UTC", "2026-03-05T09:00:01Z", "09:00", "2026-03-06T09:00:00.000Z"),
        ("America/New_York", "2026-03-05T09:00:01Z", "09:00", "2026-03-05T14:00:00.000Z"),
        ("Europe/London", "2026-03-28T12:00:00Z", "01:30", "2026-03-29T01:00:00.000Z"),  # a gap: when it ends
        ("Europe/London", "2026-10-24T12:00:00Z", "01:30", "2026-10-25T00:30:00.000Z"),  # twice: the first
        ("Europe/London", "2026-10-25T00:31:00Z", "01:30", "2026-10-26T01:30:00.000Z"),
    ],
)
def test_a_local_time_is_the_first_one_of_the_users_zone(
    router: Harness, zone: str, since: str, time: str, due: str
) -> None:
    router.command("profile.set", timezone=zone)

    router.request(send_at=since, local_time=time)

    [scheduled] = [event for event in router.events if event["status"] == "scheduled"]
    assert scheduled["detail"]["until"] == due


def test_a_local_time_stays_where_the_zone_was_when_it_was_asked_for(router: Harness) -> None:
    router.command("profile.set", timezone="UTC")
    router.request(local_time="13:00")
    router.command("profile.set", timezone="America/New_York")

    router.after(HOUR)

    assert router.reported()[:2] == [("accepted", None, None), ("scheduled", None, None)]
    assert ("queued", "push", None) in router.reported()


def test_a_request_that_is_remembered_is_repeated_whatever_the_policy_says(router: Harness) -> None:
    said: dict[str, Any] = {"notification_id": NID, "remembered_until": rfc3339(NOON + 60 * DAY)}
    router.request(**said)
    router.after(40 * DAY)

    router.request(**{**said, "remembered_until": rfc3339(router.now + 60 * DAY)})

    assert router.reported()[-1][0] == "repeated"
    assert sum(status == "accepted" for status, _, _ in router.reported()) == 1


def test_a_request_isnt_remembered_for_longer_than_90_days(router: Harness) -> None:
    router.request(remembered_until=rfc3339(NOON + 91 * DAY))

    assert [dead.field for dead in router.dead] == ["remembered_until"]


def segment(router: Harness, **said: Any) -> list[str]:
    found: list[str] = []
    behind: str | None = ""
    while behind is not None:
        params = {"segment": json.dumps(said), **({"behind": behind} if behind else {})}
        answer = router.machine.read("segment", "", params, router.states[0], router.now)
        found += answer["users"]
        behind = answer["behind"]
    return sorted(found)


@pytest.fixture
def people() -> Harness:
    router = Harness()
    router.command("profile.set", "ann", attributes={"plan": "gold", "n": 1, "on": True}, locale="en", timezone="UTC")
    router.command(
        "profile.set", "bob", attributes={"plan": "gold", "n": 1.0, "on": 1}, locale="de", email="b@b.example"
    )
    router.command("profile.set", "cid", phone="+442071838750", locale="en")
    router.command("device.add", "dan", device_id="d", platform="android", token="token")
    router.command("profile.set", "eve", locale="en")
    router.command("user.erase", "eve")
    router.command("preferences.set", "flo", preferences={})
    return router


@pytest.mark.parametrize(
    ("said", "users"),
    [
        ({}, ["ann", "bob", "cid", "dan"]),
        ({"locale": "en"}, ["ann", "cid"]),
        ({"timezone": "UTC"}, ["ann"]),
        ({"attributes": {"plan": "gold"}}, ["ann", "bob"]),
        ({"attributes": {"plan": "gold", "on": True}}, ["ann"]),
        ({"attributes": {"n": 1}}, ["ann", "bob"]),
        ({"attributes": {"none": None}}, []),
        ({"attributes": {"plan": "gold"}, "locale": "de"}, ["bob"]),
        ({"has": ["push"]}, ["dan"]),
        ({"has": ["email"]}, ["bob"]),
        ({"has": ["sms"]}, ["cid"]),
        ({"has": ["sms", "email"]}, []),
    ],
)
def test_all_of_a_segment_must_hold(people: Harness, said: dict[str, Any], users: list[str]) -> None:
    assert segment(people, **said) == users


def test_a_segment_is_read_in_slices() -> None:
    router = Harness()
    for number in range(450):
        router.command("profile.set", f"u{number:03}", locale="en" if number % 2 else "de")

    assert segment(router) == [f"u{number:03}" for number in range(450)]
    assert segment(router, locale="en") == [f"u{number:03}" for number in range(1, 450, 2)]


def test_a_place_that_isnt_one_is_refused(router: Harness) -> None:
    with pytest.raises(Invalid):
        router.machine.read("segment", "", {"behind": "no hex"}, router.states[0], router.now)


def test_noon_is_where_these_tests_begin() -> None:
    assert parse_ms("2026-03-04T12:00:00Z") == NOON
