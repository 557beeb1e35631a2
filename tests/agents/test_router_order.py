"""The order of evaluation: what is asked first, what each channel is told, and what a wait that ends is judged by."""

from typing import Any

import pytest

from schemas import topics
from schemas.instants import rfc3339
from tests.agents.harness import HOUR, MINUTE, NOON, POLICY, PROVIDERS, Harness, catalog
from tests.agents.test_router_digest import SOCIAL, like
from tests.agents.test_router_rules import QUIET

#: Each rule that stops a channel, in the documented order: what makes it say no, and what it then says.
STOPS: list[tuple[str, tuple[str, str | None]]] = [
    ("dnd", ("suppressed", "dnd")),
    ("preference", ("suppressed", "opted_out")),
    ("consent", ("suppressed", "no_consent")),
    ("suppression_list", ("suppressed", "suppression_list")),
    ("address", ("suppressed", "unverified")),
    ("provider", ("failed", "no_provider")),
    ("digest", ("held", "digest")),
    ("cap", ("suppressed", "rate_cap")),
    ("quiet_hours", ("held", "quiet_hours")),
]

GAUNTLET = """
defaults: {quiet_hours: {start: "11:00", end: "13:00", channels: [sms]}, channels: {sms: {verified: true}}}
categories: {orders: {channels: [sms]}, other: {channels: [in_app]}}
digests: {texts: {window: 10m, template: gathered}}
caps: [{name: texts, channel: sms, limit: 1, window: 1h}]
event_types:
  order.shipped: {category: orders, template: note, digest: texts}
  order.late: {category: orders, template: note}
  alarm.raised: {category: orders, template: note, priority: critical}
"""


def stopped_by(rules: list[str]) -> Harness:
    """An SMS that all of these rules speak against."""
    router = Harness(policy=GAUNTLET, providers={**PROVIDERS, "sms": frozenset()} if "provider" in rules else PROVIDERS)
    router.now = NOON if "quiet_hours" in rules else NOON + 2 * HOUR
    router.known()
    if "cap" in rules:
        router.request(event_type="alarm.raised", data={"n": 0})
    router.command("profile.set", phone_verified="address" not in rules)
    preferences: dict[str, Any] = {}
    if "dnd" in rules:
        preferences["dnd"] = {"enabled": True}
    if "preference" in rules:
        preferences["channels"] = {"sms": False}
    router.command("preferences.set", preferences=preferences)
    if "consent" in rules:
        router.command("consent.set", channel="sms", category="orders", granted=False)
    if "suppression_list" in rules:
        router.command("suppression.add", None, channel="sms", address="+442071838750", reason="manual")
    router.forget()
    router.request(event_type="order.shipped" if "digest" in rules else "order.late", data={"n": 1})
    return router


@pytest.mark.parametrize("first", range(len(STOPS)), ids=[rule for rule, _ in STOPS])
def test_of_all_rules_against_a_channel_the_first_in_the_documented_order_decides(first: int) -> None:
    router = stopped_by([rule for rule, _ in STOPS[first:]])

    assert router.reported()[1:] == [(STOPS[first][1][0], "sms", STOPS[first][1][1])]
    *others, last = router.last()["detail"]["trail"]
    assert last[:2] == [STOPS[first][0], "wait" if STOPS[first][1][0] == "held" else False]
    assert {entry[1] for entry in others} == {True}


@pytest.mark.parametrize("preferences", [{}, {"quiet_hours": {"enabled": False}}])
@pytest.mark.parametrize(
    ("event_type", "channel"),
    [("order.late", "sms"), ("order.late", "push"), ("order.late", "in_app"), ("alarm.raised", "sms")],
)
def test_no_rule_spoke_against_what_is_queued(event_type: str, channel: str, preferences: dict[str, Any]) -> None:
    router = Harness(policy=GAUNTLET, now=NOON + 2 * HOUR)
    router.known()
    router.command("preferences.set", preferences=preferences)
    router.request(event_type=event_type, channels=[channel])

    trail = router.last()["detail"]["trail"]
    assert {entry[1] for entry in trail} == {True}
    assert [entry[0] for entry in trail][-9:] == [rule for rule, _ in STOPS]
    assert (["address", True, 1] in trail) is (channel != "in_app")


def test_each_channel_that_a_rule_takes_away_has_its_own_suppressed_and_nothing_else() -> None:
    router = Harness()
    router.known(email=None)
    router.command("preferences.set", preferences={"channels": {"push": False}})
    router.request(channels=["push", "email", "sms"])

    assert router.reported() == [
        ("accepted", None, None),
        ("suppressed", "push", "opted_out"),
        ("suppressed", "email", "no_address"),
        ("queued", "sms", None),
    ]
    assert router.events[2]["detail"]["trail"][-1] == ["address", False, "no_address"]


@pytest.mark.parametrize(
    ("fields", "preferences", "message"),
    [
        ({"event_type": "order.late", "channels": ["sms"]}, {}, [["cap", True, "room", "texts"]]),
        ({"event_type": "order.late", "channels": ["push"]}, {}, [["cap", True, "none"]]),
        ({"event_type": "alarm.raised"}, {}, [["cap", True, "critical"], ["quiet_hours", True, "critical"]]),
        ({"event_type": "order.late", "channels": ["sms"]}, {}, [["quiet_hours", True, "day", "UTC"]]),
        ({"event_type": "order.late", "channels": ["push"]}, {}, [["quiet_hours", True, "channel"]]),
        ({"event_type": "order.late"}, {"quiet_hours": {"enabled": False}}, [["quiet_hours", True, "none"]]),
        ({"event_type": "order.late", "channels": ["push"]}, {}, [["address", True, 2]]),
    ],
)
def test_a_trail_says_why_a_rule_let_it_through(
    fields: dict[str, Any], preferences: dict[str, Any], message: list[list[Any]]
) -> None:
    router = Harness(policy=GAUNTLET, now=NOON + 2 * HOUR)
    router.known()
    router.device(device_id="d2")
    router.command("preferences.set", preferences=preferences)
    router.request(**fields)

    assert [entry for entry in message if entry not in router.last()["detail"]["trail"]] == []


def test_devices_that_no_provider_serves_are_no_sends() -> None:
    router = Harness()
    router.known()
    router.command("device.remove", device_id="d1")
    keys = {"p256dh": "B" + "A" * 86, "auth": "A" * 22}
    subscription = {"endpoint": "https://push.example.com/1", "keys": keys}
    router.device(device_id="d2", platform="web", subscription=subscription, token=None)
    router.request(channels=["push"])

    assert router.reported()[1:] == [("failed", "push", "no_provider")]
    assert router.last()["send_id"] is None
    assert router.last()["detail"]["trail"][-1] == ["provider", False, "apns", "fcm"]  # those that there are


def test_dnd_says_until_when() -> None:
    router = Harness()
    router.known()
    router.command("preferences.set", preferences={"dnd": {"enabled": True, "until": rfc3339(NOON + HOUR)}})
    router.request(channels=["push"])

    assert router.last()["detail"]["trail"][-1] == ["dnd", False, NOON + HOUR]


def test_what_has_nothing_to_be_gathered_by_says_so() -> None:
    router = Harness(policy=SOCIAL)
    router.known()
    router.request(event_type="comment.created", channels=["push"], data={"n": 1})

    assert router.last()["status"] == "queued"
    assert ["digest", True, "no_key"] in router.last()["detail"]["trail"]


def test_push_is_judged_for_the_channel_before_there_are_sends() -> None:
    router = Harness(policy=QUIET, now=NOON + 11 * HOUR)
    router.known()
    router.device(device_id="d2")
    router.request(channels=["push"])
    router.device(device_id="d3")
    router.at(NOON + 20 * HOUR)

    reported = [(event["status"], event["send_id"] is None) for event in router.events]
    assert reported == [("accepted", True), ("held", True)] + [("queued", False)] * 3


def test_each_decision_names_the_policys_version_that_it_was_made_by() -> None:
    router = Harness(policy=QUIET, now=NOON + 11 * HOUR)
    router.known()
    router.request(channels=["push"])
    router.machine.catalog = catalog(QUIET, version=2)
    router.at(NOON + 20 * HOUR)

    assert [event["policy_version"] for event in router.events] == [1, 1, 2]


def test_what_a_wait_ends_is_judged_by_the_policy_that_is_in_force_then() -> None:
    router = Harness(policy=QUIET, now=NOON + 11 * HOUR)
    router.known()
    router.request(channels=["push"])
    router.machine.catalog = catalog(QUIET + "caps:\n  - {name: none, channel: push, limit: 1, window: 1h}\n")
    router.request(channels=["push"], priority="critical")
    router.now = NOON + 20 * HOUR
    router.request(channels=["push"], priority="critical")
    router.wait_until_now()

    assert router.reported()[-1] == ("suppressed", "push", "rate_cap")


def test_after_a_wait_the_event_types_category_and_priority_of_that_time_count() -> None:
    router = Harness(policy=QUIET, now=NOON + 11 * HOUR)
    router.known()
    router.request(channels=["push"])
    moved = QUIET.replace("order.shipped: {category: orders,", "order.shipped: {category: mail, priority: high,")
    router.machine.catalog = catalog(moved, version=2)
    router.at(NOON + 20 * HOUR)

    (send,) = router.sends
    assert (send.category, send.priority, send.policy_version) == ("mail", "high", 2)
    assert [(event["category"], event["policy_version"]) for event in router.events[1:]] == [("orders", 1), ("mail", 2)]


def test_only_the_channels_that_wait_are_judged_again() -> None:
    router = Harness(policy=QUIET, now=NOON + 11 * HOUR)
    router.known()
    router.request()
    router.at(NOON + 20 * HOUR)

    assert [reported[:2] for reported in router.reported()[1:]] == [
        ("held", "push"),
        ("queued", "email"),
        ("queued", "push"),
    ]


def test_what_a_wait_ends_takes_its_place_in_the_caps_then() -> None:
    router = Harness(
        policy=QUIET + "caps:\n  - {name: pushes, channel: push, limit: 1, window: 1h}\n", now=NOON + 11 * HOUR
    )
    router.known()
    router.request(channels=["push"], data={"n": 1})
    router.at(NOON + 20 * HOUR + 59 * MINUTE)
    router.request(channels=["push"], data={"n": 2})
    router.after(MINUTE)
    router.request(channels=["push"], data={"n": 3})

    assert [reported for reported in router.reported() if reported[0] not in ("accepted", "held")] == [
        ("queued", "push", None),
        ("suppressed", "push", "rate_cap"),
        ("queued", "push", None),
    ]


def test_caps_count_all_lanes_together() -> None:
    router = Harness(policy=POLICY + "caps:\n  - {name: mails, channel: email, limit: 3, window: 1h}\n")
    router.known()
    for topic in (*topics.EVENT_TOPICS, topics.EVENTS_BULK):
        router.request(event_type="mail.sent", topic=topic)

    assert [reported[0] for reported in router.reported() if reported[0] != "accepted"] == ["queued"] * 3 + [
        "suppressed"
    ]


@pytest.mark.parametrize("over", ["{digest: late}", "suppress"])
def test_what_comes_out_of_a_digest_is_suppressed_where_a_cap_that_gathers_is_over(over: str) -> None:
    cap = f"{{name: pushes, channel: push, limit: 1, window: 6h, over: {over}}}"
    late = "digests:\n  late: {window: 1h, template: gathered}"
    router = Harness(policy=SOCIAL.replace("digests:", f"caps: [{cap}]\n{late}"))
    router.known()
    like(router, 0, priority="critical")
    like(router, 1)
    like(router, 2)
    router.after(10 * MINUTE)

    assert router.reported()[-1] == ("suppressed", "push", "rate_cap")
    assert router.last()["detail"]["cap"] == "pushes"


def test_the_notification_of_a_digest_is_judged_from_dnd_on() -> None:
    router = Harness(policy=SOCIAL)
    router.known()
    like(router, 1)
    like(router, 2)
    router.command("preferences.set", preferences={"dnd": {"enabled": True}})
    router.after(10 * MINUTE)

    assert [reported for reported in router.reported() if reported[0] not in ("accepted", "held")] == [
        ("aggregated", "push", None),
        ("aggregated", "push", None),
        ("suppressed", "push", "dnd"),
    ]
    assert router.last()["detail"]["trail"][0][0] == "dnd"


def test_what_expires_no_later_than_its_schedule_is_refused_and_after_it_is_sent() -> None:
    router = Harness()
    router.known()
    router.request(event_type="mail.sent", send_at=rfc3339(NOON + HOUR), expires_at=rfc3339(NOON + HOUR))
    router.request(event_type="mail.sent", send_at=rfc3339(NOON + HOUR), expires_at=rfc3339(NOON + HOUR + 1))
    router.after(HOUR)

    assert [invalid.field for invalid in router.dead] == ["expires_at"]
    assert router.reported()[-1] == ("queued", "email", None)


def test_hours_hold_a_day_on_which_a_night_begins_across_midnight() -> None:
    router = Harness(policy=QUIET, now=NOON + 11 * HOUR)  # Wednesday, 23:00
    router.known()
    hours = {"start": "22:00", "end": "08:00", "days": ["wed"]}
    router.command("preferences.set", preferences={"quiet_hours": hours})
    ends = []
    for moment in (NOON + 15 * HOUR, NOON + 35 * HOUR):  # Thursday 03:00, and the night after
        router.at(moment)
        router.request(channels=["push"], data={"n": moment})
        ends.append(router.reported()[-1])

    assert ends == [("held", "push", "quiet_hours"), ("queued", "push", None)]
