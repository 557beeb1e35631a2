"""What the gateway takes, and what it refuses with which status and field."""

from typing import Any

import msgspec
import pytest

from app.api.intake import Taken, lane_of, take
from app.api.problems import Problem
from app.domain.catalog import Catalog
from app.domain.ids import keyed_notification_id
from app.domain.policy import parse_policy
from schemas.config import Template, TemplateVersion
from schemas.instants import rfc3339
from schemas.requests import check_request, read_request
from schemas.words import Lane, Priority

NOW = 1_780_000_000_000
NEW_ID = "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e"
POLICY = """
critical: {sources: [auth]}
categories:
  orders: {channels: [push]}
  security: {critical: true, channels: [sms]}
  other: {channels: [in_app]}
event_types:
  order.shipped: {category: orders, template: order_shipped}
  login.otp: {category: security, template: order_shipped}
"""
TEMPLATE = TemplateVersion(
    version=1,
    at="2026-01-01T00:00:00.000Z",
    template=Template(id="order_shipped", channels={"sms": {"en": {"body": "x"}}}),
)
CATALOG = Catalog(parse_policy(POLICY), 1, {"order_shipped": TEMPLATE})
CONTENT = {"title": "Hello", "body": "World"}


def taken(header_key: str | None = None, source: str = "shop", **fields: Any) -> Taken:
    body = {"user_id": "ada", "event_type": "order.shipped", **fields}
    raw = msgspec.json.encode({name: value for name, value in body.items() if value is not ...})
    return take(raw, header_key, source, CATALOG, NOW, NEW_ID)


def refusal(header_key: str | None = None, **fields: Any) -> tuple[int, str | None]:
    with pytest.raises(Problem) as refused:
        taken(header_key, **fields)
    return refused.value.status, refused.value.field


def requests(taken: Taken) -> list[Any]:
    read = [read_request(record.value or b"") for record in taken.records()]
    for request in read:
        check_request(request, NOW)
    return read


def test_each_recipient_has_a_record_keyed_by_the_user() -> None:
    records = list(taken(user_id=..., user_ids=["ada", "bob"]).records())

    assert [(record.topic, record.key) for record in records] == [("notify_events", b"ada"), ("notify_events", b"bob")]


def test_a_repeated_user_counts_once() -> None:
    assert taken(user_id=..., user_ids=["ada", "bob", "ada"]).recipients == ("ada", "bob")


def test_the_record_says_what_the_body_said() -> None:
    said: dict[str, Any] = {
        "template_id": "order_shipped",
        "data": {"n": 1, "deep": [{"ü": None}]},
        "channels": ["push", "sms"],
        "priority": "low",
        "send_at": "2026-06-01T10:00:00+02:00",
        "expires_at": "2026-06-02T10:00:00Z",
        "collapse_key": "c",
        "campaign_id": "spring",
        "locale": "pt-BR",
        "created_at": "2026-05-01T10:00:00Z",
    }
    [record] = taken(**said).records()
    written = msgspec.json.decode(record.value or b"")

    assert written.pop("send_at") == "2026-06-01T10:00:00+02:00"
    assert written == {
        **{name: value for name, value in said.items() if name != "send_at"},
        "user_id": "ada",
        "event_type": "order.shipped",
        "source": "shop",
        "assigned_id": NEW_ID,
    }


def test_the_source_is_the_keys_whatever_the_body_says() -> None:
    [request] = requests(taken(source="shop", campaign_id="x"))
    [impostor] = requests(
        take(b'{"user_id":"a","event_type":"order.shipped","source":"auth"}', None, "shop", CATALOG, NOW, NEW_ID)
    )

    assert request.source == impostor.source == "shop"


def test_a_key_names_the_notification_by_itself() -> None:
    by_body, by_header = taken(idempotency_key="k1"), taken("k1")

    assert by_body.notification_id == by_header.notification_id == keyed_notification_id("shop", "k1")
    assert [request.idempotency_key for request in requests(by_header)] == ["k1"]


def test_the_same_key_in_body_and_header_is_no_contradiction() -> None:
    assert taken("k1", idempotency_key="k1").notification_id == keyed_notification_id("shop", "k1")


def test_without_key_the_id_is_new_and_does_not_stand_in_for_a_key() -> None:
    accepted = taken()

    assert accepted.notification_id == NEW_ID
    assert [(r.assigned_id, r.notification_id, r.idempotency_key) for r in requests(accepted)] == [(NEW_ID, None, None)]


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"event_type": ...}, 400, "event_type"),
        ({"event_type": "order shipped"}, 400, "event_type"),
        ({"user_id": ...}, 400, "user_id"),
        ({"user_ids": ["bob"]}, 400, "user_id"),
        ({"user_id": ..., "user_ids": []}, 400, "user_ids"),
        ({"user_id": ..., "user_ids": [f"u{n}" for n in range(1001)]}, 400, "user_ids"),
        ({"user_id": "x" * 129}, 400, "user_id"),
        ({"user_id": "a\nb"}, 400, "user_id"),
        ({"data": [1]}, 400, "data"),
        ({"data": {"x": "y" * 65 * 1024}}, 413, "data"),
        ({"channels": ["pigeon"]}, 400, "channels"),
        ({"priority": "urgent"}, 400, "priority"),
        ({"notification_id": NEW_ID}, 400, "notification_id"),
        ({"send_at": "tomorrow"}, 400, "send_at"),
        ({"send_at": "2026-06-01T10:00:00"}, 400, "send_at"),
        ({"send_at": rfc3339(NOW + 367 * 86_400_000)}, 422, "send_at"),
        ({"send_at": rfc3339(NOW + 1000), "expires_at": rfc3339(NOW + 500)}, 422, "expires_at"),
        ({"template_id": "order_shipped", "content": CONTENT}, 422, "content"),
        ({"template_id": "nonsense"}, 422, "template_id"),
        ({"event_type": "nobody.knows"}, 422, "template_id"),
        ({"content": {"title": "only"}}, 400, "content.body"),
        ({"idempotency_key": ""}, 400, "idempotency_key"),
        ({"idempotency_key": "x" * 256}, 400, "idempotency_key"),
    ],
)
def test_what_is_refused_names_its_field(fields: dict[str, Any], status: int, field: str) -> None:
    assert refusal(**fields) == (status, field)


@pytest.mark.parametrize(
    "data", [b'{"a":' * 101 + b"1" + b"}" * 101, b'{"a":' * 9999 + b"1" + b"}" * 9999, b'{"a":1e}']
)
def test_data_that_could_not_be_read_later_is_not_taken(data: bytes) -> None:
    raw = b'{"user_id":"ada","event_type":"order.shipped","data":' + data + b"}"

    with pytest.raises(Problem) as refused:
        take(raw, None, "shop", CATALOG, NOW, NEW_ID)

    assert refused.value.status == 400


def test_data_may_be_a_hundred_deep() -> None:
    raw = b'{"user_id":"ada","event_type":"order.shipped","data":' + b'{"a":' * 99 + b"1" + b"}" * 99 + b"}"

    assert take(raw, None, "shop", CATALOG, NOW, NEW_ID).recipients == ("ada",)


@pytest.mark.parametrize("key", ["", "x" * 256, "\udcff", "a\nb"])
def test_header_keys_that_can_not_be_are_400(key: str) -> None:
    assert refusal(key) == (400, "idempotency_key")


def test_two_different_keys_are_400() -> None:
    assert refusal("k1", idempotency_key="k2") == (400, "idempotency_key")


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"user_id":"\xff"}'])
def test_what_is_no_json_object_is_400(raw: bytes) -> None:
    with pytest.raises(Problem) as refused:
        take(raw, None, "shop", CATALOG, NOW, NEW_ID)

    assert refused.value.status == 400


def test_the_policys_template_of_the_event_type_counts() -> None:
    assert taken(event_type="order.shipped").recipients == ("ada",)


def test_content_needs_no_template() -> None:
    assert taken(event_type="nobody.knows", content=CONTENT).recipients == ("ada",)


@pytest.mark.parametrize("limit", [NOW + 366 * 86_400_000, NOW - 1])
def test_send_at_may_be_366_days_ahead_or_past(limit: int) -> None:
    assert taken(send_at=rfc3339(limit)).recipients == ("ada",)


def test_nulls_are_absent_fields() -> None:
    nothing: dict[str, Any] = dict.fromkeys(
        ("user_ids", "template_id", "content", "data", "channels", "priority", "idempotency_key")
    )

    [request] = requests(taken(**nothing))
    assert request.data_json == b""


@pytest.mark.parametrize(
    ("source", "fields", "topic"),
    [
        ("shop", {}, "notify_events"),
        ("shop", {"priority": "low"}, "notify_events_bulk"),
        ("shop", {"campaign_id": "spring"}, "notify_events_bulk"),
        ("auth", {"priority": "critical"}, "notify_events_critical"),
        ("auth", {"priority": "critical", "campaign_id": "recall"}, "notify_events_critical"),
        ("shop", {"priority": "critical"}, "notify_events"),
        ("shop", {"event_type": "login.otp"}, "notify_events_critical"),
    ],
)
def test_the_lane_follows_the_effective_priority(source: str, fields: dict[str, Any], topic: str) -> None:
    [record] = taken(source=source, **fields).records()

    assert record.topic == topic


@pytest.mark.parametrize(
    ("priority", "campaign", "lane"),
    [("high", False, "normal"), ("high", True, "bulk"), ("critical", True, "critical"), ("low", False, "bulk")],
)
def test_lanes(priority: Priority, campaign: bool, lane: Lane) -> None:
    assert lane_of(priority, campaign) == lane


@pytest.mark.parametrize(
    ("event_type", "asked", "effective"),
    [
        ("order.shipped", "critical", "high"),
        ("order.shipped", "low", "low"),
        ("order.shipped", None, None),
        ("order.lost", None, "high"),
        ("order.lost", "critical", "high"),
        ("order.lost", "normal", "normal"),
    ],
)
def test_a_key_that_may_not_be_critical_is_lowered_to_high(
    event_type: str, asked: Priority | None, effective: Priority | None
) -> None:
    policy = POLICY.replace("event_types:", "event_types:\n  order.lost: {category: orders, priority: critical}")
    body = {"user_id": "ada", "event_type": event_type, "template_id": "order_shipped"}
    raw = msgspec.json.encode(body if asked is None else {**body, "priority": asked})
    catalog = Catalog(parse_policy(policy), 1, {"order_shipped": TEMPLATE})

    [lowered] = requests(take(raw, None, "auth", catalog, NOW, NEW_ID, may_be_critical=False))
    [kept] = requests(take(raw, None, "auth", catalog, NOW, NEW_ID))

    assert (lowered.priority, kept.priority) == (effective, asked)


@pytest.mark.parametrize("may", [True, False])
def test_a_push_breaks_through_only_for_a_key_that_may_be_critical(may: bool) -> None:
    push = {"badge": 1, "interruption_level": "time-sensitive", "android_priority": "high"}
    body = {"user_id": "ada", "event_type": "order.shipped", "template_id": "order_shipped", "push": push}
    catalog = Catalog(parse_policy(POLICY), 1, {"order_shipped": TEMPLATE})

    [request] = requests(take(msgspec.json.encode(body), None, "auth", catalog, NOW, NEW_ID, may_be_critical=may))

    assert request.push is not None
    assert request.push.badge == 1
    shown = (request.push.interruption_level, request.push.android_priority)
    assert shown == (("time-sensitive", "high") if may else ("active", None))
