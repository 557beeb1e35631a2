"""What becomes of a request when it is read: refused, repeated, a duplicate, or given its place."""

import json
from typing import Any

import pytest

from schemas import topics
from schemas.instants import rfc3339
from schemas.requests import PushOptions
from tests.agents.harness import HOUR, MINUTE, NOON, POLICY, Harness, catalog, template


@pytest.fixture
def router() -> Harness:
    harness = Harness()
    harness.known()
    return harness


def test_a_request_is_accepted_and_queued_on_each_channel_of_its_category(router: Harness) -> None:
    router.request(data={"n": 1})

    assert router.reported() == [("accepted", None, None), ("queued", "push", None), ("queued", "email", None)]
    assert [send.channel for send in router.sends] == ["push", "email"]


def test_push_becomes_one_send_for_each_device(router: Harness) -> None:
    router.device(device_id="d2", platform="ios")

    router.request(channels=["push"])

    assert [send.device_id for send in router.sends] == ["d1", "d2"]
    assert len({send.send_id for send in router.sends}) == 2
    assert [event["detail"]["device_id"] for event in router.events[1:]] == ["d1", "d2"]


def test_what_is_said_of_push_goes_with_its_sends_alone(router: Harness) -> None:
    router.request(push={"badge": 3, "android_channel_id": "orders"})

    said = {send.channel: send.push for send in router.sends}
    assert said == {"push": PushOptions(badge=3, android_channel_id="orders"), "email": None}


def test_a_device_that_no_provider_serves_fails_beside_one_that_is_served(router: Harness) -> None:
    router.device(device_id="d2", platform="web", subscription=_subscription(), token=None)

    router.request(channels=["push"])

    assert router.reported() == [
        ("accepted", None, None),
        ("queued", "push", None),
        ("failed", "push", "no_provider"),
    ]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"event_type": "has space"}, "event_type"),
        ({"event_type": "without.template"}, "template_id"),
        ({"content": {"title": "t", "body": "b"}, "template_id": "note"}, "content"),
        ({"data": [1]}, "data"),
        ({"push": {"badge": -1}}, "push.badge"),
        ({"push": {"badge": 100_000}}, "push.badge"),
        ({"push": {"sound": "x" * 101}}, "push.sound"),
        ({"push": {"category": ""}}, "push.category"),
        ({"push": {"thread_id": "x" * 65}}, "push.thread_id"),
        ({"push": {"interruption_level": "critical"}}, "push.interruption_level"),
        ({"push": {"silent": "yes"}}, "push.silent"),
        ({"push": {"actions": [{"id": "a", "label": "A"}] * 4}}, "push.actions"),
        ({"push": {"actions": [{"id": "", "label": "A"}]}}, "push.actions[0].id"),
        ({"push": {"android_priority": "max"}}, "push.android_priority"),
        ({"push": {"data": {"a": 1}}}, "push.data"),
        ({"channels": ["fax"]}, "channels"),
        ({"notification_id": "x"}, "notification_id"),
        ({"send_at": "2028-01-01T00:00:00Z"}, "send_at"),
        ({"send_at": "tomorrow"}, "send_at"),
        ({"send_at": "2026-03-05T00:00:00Z", "expires_at": "2026-03-04T23:00:00Z"}, "expires_at"),
        ({"key": "bob"}, "key"),
        ({"user_id": "a\u0000b", "key": "x"}, "user_id"),
    ],
)
def test_a_bad_request_is_refused_by_the_name_of_its_field(router: Harness, fields: dict[str, Any], field: str) -> None:
    router.request(**fields)

    assert [invalid.field for invalid in router.dead] == [field]
    assert router.events == []


def test_the_same_position_again_does_nothing(router: Harness) -> None:
    record = router.request(idempotency_key="k")
    router.forget()

    router.again(record)

    assert (router.events, router.sends) == ([], [])


def test_the_same_position_again_does_nothing_though_the_policy_would_refuse_it_now(router: Harness) -> None:
    record = router.request(idempotency_key="k")
    router.machine.catalog = catalog(POLICY.replace(", template: note}", "}"), version=2)
    router.forget()

    router.again(record)

    assert (router.events, router.dead) == ([], [])


def test_the_same_key_again_is_repeated_and_changes_nothing(router: Harness) -> None:
    router.request(idempotency_key="k", data={"n": 1})
    router.forget()

    router.request(idempotency_key="k", data={"n": 1})
    router.request(idempotency_key="k", data={"n": 2})

    assert router.reported() == [("repeated", None, None)] * 2
    assert [event["detail"].get("differs") for event in router.events] == [None, True]
    assert router.sends == []


def test_a_repetition_is_told_once_however_often_it_is_read(router: Harness) -> None:
    """After an erasure, or when the key began anew, another text would be told of it."""
    router.request(idempotency_key="k", channels=["email"], data={"n": 1})
    again = router.request(idempotency_key="k", channels=["email"], data={"n": 2})
    router.settled(router.sends[0], "sent")
    router.again(again)
    router.after(8 * 24 * HOUR)
    anew = router.request(idempotency_key="k", channels=["email"])
    for record in (*router.log[-3:], again):
        router.again(record)
    router.command("user.erase")
    router.forget()
    for record in router.log[:]:
        router.again(record)
    router.request(idempotency_key="k", channels=["email"])

    assert (router.reported(), anew.offset) == ([("repeated", None, None)], 2)


def test_the_same_key_of_another_source_is_another_notification(router: Harness) -> None:
    router.request(idempotency_key="k", source="a")
    router.request(idempotency_key="k", source="b")

    assert len({send.notification_id for send in router.sends}) == 2


def test_the_same_key_after_the_window_is_a_new_one(router: Harness) -> None:
    router.request(idempotency_key="k", channels=["email"])
    router.settled(router.sends[0], "sent")
    router.after(7 * 24 * HOUR)

    router.request(idempotency_key="k", channels=["email"])

    assert router.reported() == [("accepted", None, None), ("queued", "email", None)] * 2
    assert len({send.send_id for send in router.sends}) == 2


def test_the_same_key_is_repeated_as_long_as_the_first_waits(router: Harness) -> None:
    router.request(idempotency_key="k", send_at=rfc3339(NOON + 30 * 24 * HOUR))
    router.after(29 * 24 * HOUR)

    router.request(idempotency_key="k")

    assert router.last()["status"] == "repeated"


def test_the_same_key_is_repeated_as_long_as_a_send_of_the_first_has_no_end(router: Harness) -> None:
    """Its channel's role may hold it, or wait to try it again."""
    router.request(idempotency_key="k", channels=["email", "push"])
    router.settled(router.sends[1], "sent")
    router.after(8 * 24 * HOUR)

    router.request(idempotency_key="k", channels=["email", "push"])
    router.settled(router.sends[0], "unknown")
    router.request(idempotency_key="k", channels=["email", "push"])

    assert [status for status, _, _ in router.reported()[3:]] == ["repeated", "accepted", "queued", "queued"]


def test_what_comes_back_of_the_first_is_told_though_the_same_key_began_anew(router: Harness) -> None:
    router.request(idempotency_key="k", channels=["email"])
    (first,) = router.sends
    router.settled(first, "sent")
    router.after(8 * 24 * HOUR)
    router.request(idempotency_key="k", channels=["email"], data={"n": 2})
    router.forget()

    router.receipt(first, "complained")
    router.receipt(first, "opened", bare=True)

    assert [(e["status"], e["send_id"]) for e in router.events] == [
        ("complained", first.send_id),
        ("delivered", first.send_id),
        ("opened", first.send_id),
    ]
    assert [message["type"] for message in router.broadcasts] == ["address.suppressed"]
    assert router.dead == []


def test_what_says_the_same_without_a_key_is_a_duplicate_of_the_first(router: Harness) -> None:
    router.request(data={"a": 1, "b": [2]})
    router.after(9 * MINUTE)
    router.request(data={"b": [2], "a": 1})

    first, last = router.events[0], router.last()
    assert (last["status"], last["reason"]) == ("suppressed", "duplicate")
    assert last["detail"]["of"] == first["notification_id"]


@pytest.mark.parametrize(
    "fields",
    [
        {"data": {"n": 2}},
        {"data": {"n": 1}, "campaign_id": "c"},
        {"data": {"n": 1}, "idempotency_key": "k"},
        {"data": {"n": 1}, "event_type": "mail.sent"},
    ],
)
def test_what_differs_or_has_a_key_is_no_duplicate(router: Harness, fields: dict[str, Any]) -> None:
    router.request(data={"n": 1})
    router.request(**fields)

    assert "duplicate" not in [reason for _, _, reason in router.reported()]


def test_a_template_is_the_same_whether_the_request_or_the_policy_names_it(router: Harness) -> None:
    router.request(data={"n": 1})
    router.request(data={"n": 1.0}, template_id="note", source="another")

    assert router.last()["reason"] == "duplicate"


@pytest.mark.parametrize("after", [10 * MINUTE - 1, 10 * MINUTE])
def test_the_window_of_duplicates_ends_when_it_is_over(router: Harness, after: int) -> None:
    router.request(data={"n": 1}, channels=["email"])
    router.after(after)
    router.request(data={"n": 1}, channels=["email"])

    assert (router.last()["reason"] == "duplicate") is (after < 10 * MINUTE)


@pytest.mark.parametrize("before", [10 * MINUTE - 1, 10 * MINUTE])
def test_the_window_of_duplicates_is_as_wide_for_a_slower_lane(router: Harness, before: int) -> None:
    """What is read first is the first, and keeps its window, though another was recorded earlier."""
    router.request(data={"n": 1}, channels=["email"])
    router.request(data={"n": 1}, channels=["email"], topic=topics.EVENTS_BULK, timestamp=NOON - before)
    slower = router.last()
    router.request(data={"n": 1}, channels=["email"], timestamp=NOON + 10 * MINUTE - 1)

    assert (slower["reason"] == "duplicate") is (before < 10 * MINUTE)
    assert router.last()["detail"]["of"] == router.events[0]["notification_id"]


def test_requests_without_data_and_content_are_no_duplicates(router: Harness) -> None:
    router.request()
    router.request()

    assert [status for status, _, _ in router.reported()].count("queued") == 4


def test_the_window_of_duplicates_starts_with_the_first(router: Harness) -> None:
    for _ in range(3):
        router.request(data={"n": 1}, channels=["email"])
        router.after(6 * MINUTE)

    assert [reason for status, _, reason in router.reported() if status != "accepted"] == [None, "duplicate", None]


def test_a_request_that_expired_in_the_queue_is_expired(router: Harness) -> None:
    router.request(expires_at=rfc3339(NOON - 1))

    assert router.reported() == [("accepted", None, None), ("expired", None, None)]


def test_it_expires_after_created_at_by_the_policy(router: Harness) -> None:
    router.request(created_at=rfc3339(NOON - 49 * HOUR))

    assert router.reported()[1] == ("expired", None, None)


def test_an_unknown_template_fails(router: Harness) -> None:
    router.request(template_id="nowhere")

    assert router.reported() == [("accepted", None, None), ("failed", None, "bad_template")]


def test_a_channel_that_the_template_lacks_is_not_among_the_channels() -> None:
    router = Harness(templates=[template("mail-only", "email")])
    router.known()
    router.request(template_id="mail-only")

    assert router.reported() == [("accepted", None, None), ("queued", "email", None)]


@pytest.mark.parametrize("fields", [{"channels": []}, {"template_id": "mail-only", "channels": ["sms"]}])
def test_no_channel_left_is_suppressed(fields: dict[str, Any]) -> None:
    router = Harness(templates=[template("mail-only", "email")])
    router.known()
    router.request(**fields)

    assert router.reported() == [("accepted", None, None), ("suppressed", None, "no_channel")]


@pytest.mark.parametrize(
    ("topic", "priority", "lane"),
    [
        (topics.EVENTS, None, "notify_send_email"),
        (topics.EVENTS, "low", "notify_send_email_bulk"),
        (topics.EVENTS_BULK, None, "notify_send_email_bulk"),
        (topics.EVENTS_BULK, "critical", "notify_send_email_critical"),
        (topics.EVENTS_CRITICAL, "high", "notify_send_email"),
    ],
)
def test_the_lane_of_a_send_follows_its_priority(topic: str, priority: str | None, lane: str) -> None:
    router = Harness()
    router.known()

    router.request(topic=topic, channels=["email"], **({"priority": priority} if priority else {}))

    assert router.lanes == [lane]


def test_critical_of_a_source_that_may_not_is_lowered_to_high() -> None:
    router = Harness(policy='critical: {sources: ["auth"]}\n' + POLICY)
    router.known()
    router.request(priority="critical", source="shop", channels=["email"])
    router.request(priority="critical", source="auth", channels=["email"])

    assert [send.priority for send in router.sends] == ["high", "critical"]


@pytest.mark.parametrize(
    ("low", "priority", "channels"),
    [
        (False, "low", ["push", "email"]),
        (False, "normal", ["push", "email", "sms"]),
        (True, "low", ["push", "email", "sms"]),
    ],
)
def test_low_ones_are_kept_off_sms_where_the_policy_says(low: bool, priority: str, channels: list[str]) -> None:
    router = Harness(policy=f"{POLICY}\nsms: {{low: {str(low).lower()}}}\n")
    router.known()
    router.request(channels=["push", "email", "sms"], priority=priority)

    assert [send.channel for send in router.sends] == channels


def test_a_low_one_by_sms_alone_has_no_channel_and_its_trail_says_why() -> None:
    router = Harness(policy=f"{POLICY}\nsms: {{low: false}}\n")
    router.known()
    router.request(channels=["sms"], priority="low")

    assert router.reported() == [("accepted", None, None), ("suppressed", None, "no_channel")]
    assert router.last()["detail"]["trail"][-2:] == [["low_by_sms", False], ["channels", False, "request"]]


def test_a_chain_of_a_low_one_goes_past_sms() -> None:
    chain = "  paid: {category: orders, template: note, fallback: {chain: [push, sms, email], wait: 1m}}\n"
    router = Harness(policy=POLICY.rstrip("\n") + "\n" + chain + "sms: {low: false}\n")
    router.known()
    router.request(event_type="paid", priority="low")
    router.at(NOON + 2 * MINUTE)

    assert [send.channel for send in router.sends] == ["push", "email"]


def test_every_decision_keeps_its_trail(router: Harness) -> None:
    router.request(channels=["email"])

    assert router.last()["detail"]["trail"] == [
        ["erased", True],
        ["repeated", True],
        ["cancelled", True],
        ["expired", True, NOON + 48 * HOUR],
        ["scheduled", True],
        ["channels", True, "request", "email"],
        ["dnd", True],
        ["preference", True, "no preference set"],
        ["consent", True, "no consent required"],
        ["suppression_list", True],
        ["address", True, 1],
        ["provider", True, "ses"],
        ["digest", True],
        ["cap", True, "none"],
        ["quiet_hours", True, "none"],
    ]


TRAILED = """
defaults:
  expires_after: 48h
  quiet_hours: {start: "11:00", end: "15:00", channels: [push]}
  channels: {email: {verified: true}}
categories:
  mail: {channels: [email]}
  news: {channels: [push, email], consent: [email], digest: social}
  other: {channels: [in_app]}
caps:
  - {name: one, channel: sms, limit: 1, window: 1h}
digests:
  social: {window: 10m, template: gathered, channels: [push]}
event_types:
  mail.sent: {category: mail, template: note}
  news.out: {category: news, template: note}
"""
_DND = {"preferences": {"dnd": {"enabled": True, "until": rfc3339(NOON + 12 * HOUR)}}}
_NO_MAIL = {"preferences": {"categories": {"mail": {"email": False}}}}
_LISTED = {"channel": "email", "address": "ann@example.com", "reason": "stop"}


@pytest.mark.parametrize(
    ("command", "fields", "entry"),
    [
        (("user.erase", {}), {}, ["erased", False]),
        (("notification.cancel", {"campaign_id": "c"}), {"campaign_id": "c"}, ["cancelled", False]),
        (None, {"expires_at": rfc3339(NOON - 1)}, ["expired", False, NOON - 1]),
        (None, {"send_at": rfc3339(NOON + HOUR)}, ["scheduled", "wait", NOON + HOUR]),
        (None, {"channels": []}, ["channels", False, "request"]),
        (None, {"template_id": "nowhere"}, ["template", False, "nowhere"]),
        (("preferences.set", _DND), {}, ["dnd", False, NOON + 12 * HOUR]),
        (("preferences.set", _NO_MAIL), {}, ["preference", False, "categories.mail.email"]),
        (None, {"event_type": "news.out"}, ["consent", False, "consent required"]),
        (("suppression.add", _LISTED), {}, ["suppression_list", False]),
        (("profile.set", {"email": None}), {}, ["address", False, "no_address"]),
        (("profile.set", {"email_verified": False}), {}, ["address", False, "unverified"]),
        (None, {"event_type": "news.out", "channels": ["push"]}, ["digest", "wait", "social", NOON + 10 * MINUTE]),
        (None, {"channels": ["sms"]}, ["cap", False, "one", 1, 1, HOUR, NOON + HOUR]),
        (None, {"channels": ["push"]}, ["quiet_hours", "wait", "UTC", NOON + 3 * HOUR, 11 * 60, 15 * 60]),
    ],
)
def test_the_rule_that_decided_is_in_the_trail_with_what_it_was_asked_and_answered(
    command: tuple[str, dict[str, Any]] | None, fields: dict[str, Any], entry: list[Any]
) -> None:
    router = Harness(policy=TRAILED)
    router.known()
    if command is not None:
        router.command(command[0], **command[1])
    if entry[0] == "cap":  # somebody has the place
        router.request(**{"event_type": "mail.sent", "data": {"n": 0}, **fields})
    router.request(**{"event_type": "mail.sent", "channels": ["email"], "data": {"n": 1}, **fields})

    assert [each for each in router.last()["detail"]["trail"] if each[0] == entry[0]] == [entry]
    assert router.last()["status"] not in ("accepted", "queued")


def test_no_event_holds_an_address_or_data(router: Harness) -> None:
    router.request(data={"secret": "swordfish"})

    reported = json.dumps(router.events)
    assert not any(private in reported for private in ("swordfish", "example.com", "token of", "+44"))


@pytest.mark.parametrize("structured", [True, False])
def test_a_cloud_event_is_a_request(router: Harness, structured: bool) -> None:
    attributes = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "shop",
        "type": "order.shipped",
        "subject": "ann",
        "time": rfc3339(NOON),
        "channels": "email, push",
        "campaignid": "spring",
    }
    if structured:
        value = json.dumps({**attributes, "data": {"n": 1}}).encode()
        headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
    else:
        value = b'{"n": 1}'
        headers = [(f"ce_{name}", text.encode()) for name, text in attributes.items()]
    router.feed(topics.EVENTS, b"ann", value, headers=headers)
    router.request(idempotency_key="e-1", source="shop", data={"n": 1}, campaign_id="spring")

    assert [send.channel for send in router.sends] == ["email", "push"]
    assert {send.campaign_id for send in router.sends} == {"spring"}
    assert router.last()["status"] == "repeated"
    assert "differs" not in router.last()["detail"]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("specversion", "0.3"), ("type", "no spaces"), ("subject", None), ("sendat", "soon"), ("priority", "urgent")],
)
def test_a_bad_cloud_event_is_refused_by_the_name_of_its_attribute(
    router: Harness, attribute: str, value: str | None
) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "order.shipped", "subject": "ann"}
    event |= {attribute: value}  # type: ignore[dict-item]
    router.feed(topics.EVENTS, b"ann", json.dumps(event).encode())

    assert [invalid.field for invalid in router.dead] == [attribute]


def _subscription() -> dict[str, Any]:
    return {"endpoint": "https://push.example.com/1", "keys": {"p256dh": "B" + "A" * 86, "auth": "A" * 22}}


@pytest.mark.parametrize("timestamp", [-1, 2**62])
def test_a_records_timestamp_that_cannot_be_means_now(router: Harness, timestamp: int) -> None:
    router.request(timestamp=timestamp, idempotency_key="k")
    [row] = [row for _, row in router.states[0].notifications.scan(b"", None)]

    assert (row.facts.recorded_ms, row.facts.created_ms) == (router.now, router.now)
    router.after(HOUR)
    router.request(timestamp=timestamp, idempotency_key="k")
    assert router.last()["status"] == "repeated"
