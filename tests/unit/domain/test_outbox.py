"""What becomes of a row of the outbox."""

import json
from typing import Any

import pytest

from app.domain.outbox import EventRecord, event_record
from schemas.cloudevents import read_event
from schemas.decode import Invalid
from schemas.topics import EVENTS, EVENTS_BULK, EVENTS_CRITICAL
from tests.hostile import REFUSED

NOW = 1_780_000_000_000
GOOD = {"event_type": "order.shipped", "data": {"n": 1}}


def record_of(request: Any, user_id: str = "ada", key: str = "k-1") -> EventRecord:
    text = request if isinstance(request, str) else json.dumps(request)
    return event_record(user_id, text, key, "2026-05-01T10:00:00.000Z", "shop", NOW)


def test_a_row_is_a_request_that_the_router_takes() -> None:
    record = record_of(GOOD)

    request, _ = read_event(record.value, [], NOW, key=record.key)
    assert (record.topic, record.key) == (EVENTS, b"ada")
    assert (request.user_id, request.source, request.idempotency_key) == ("ada", "shop", "k-1")
    assert (request.event_type, request.created_at) == ("order.shipped", "2026-05-01T10:00:00.000Z")


def test_the_same_row_is_the_same_record() -> None:
    assert record_of(GOOD) == record_of(GOOD)


def test_what_a_row_says_of_its_time_counts() -> None:
    said = "2026-04-01T00:00:00Z"

    assert json.loads(record_of({**GOOD, "created_at": said}).value)["created_at"] == said


def test_a_row_whose_time_is_no_instant_is_refused_unless_it_says_its_own() -> None:
    with pytest.raises(Invalid) as refused:
        event_record("ada", json.dumps(GOOD), "k-1", None, "shop", NOW)
    own = event_record("ada", json.dumps({**GOOD, "created_at": "2026-04-01T00:00:00Z"}), "k-1", None, "shop", NOW)

    assert refused.value.field == "created_at"
    assert json.loads(own.value)["created_at"] == "2026-04-01T00:00:00Z"


@pytest.mark.parametrize(
    ("more", "topic"),
    [
        ({}, EVENTS),
        ({"priority": "high"}, EVENTS),
        ({"priority": "critical"}, EVENTS_CRITICAL),
        ({"priority": "low"}, EVENTS_BULK),
        ({"campaign_id": "spring"}, EVENTS_BULK),
        ({"campaign_id": "spring", "priority": "critical"}, EVENTS_CRITICAL),
    ],
)
def test_the_lane_is_as_the_request_says(more: dict[str, Any], topic: str) -> None:
    assert record_of({**GOOD, **more}).topic == topic


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ("[]", None),
        ("{}", "event_type"),
        ({**GOOD, "user_id": "bob"}, "user_id"),
        ({**GOOD, "source": "other"}, "source"),
        ({**GOOD, "idempotency_key": "x"}, "idempotency_key"),
        ({**GOOD, "notification_id": "x"}, "notification_id"),
        ({**GOOD, "channels": ["pigeon"]}, "channels"),
        ({**GOOD, "send_at": "tomorrow"}, "send_at"),
        ({**GOOD, "data": {"x": "y" * 70_000}}, "data"),
    ],
    ids=str,
)
def test_what_cannot_be_taken_is_refused_with_its_field(request_: Any, field: str | None) -> None:
    with pytest.raises(Invalid) as refused:
        record_of(request_)
    assert (refused.value.field or "").partition("[")[0] == (field or "")


@pytest.mark.parametrize(
    ("user_id", "key"), [("", "k"), ("a\nb", "k"), ("x" * 129, "k"), ("ada", ""), ("ada", "x" * 256)]
)
def test_a_user_and_a_key_are_what_they_are_elsewhere(user_id: str, key: str) -> None:
    with pytest.raises(Invalid):
        record_of(GOOD, user_id, key)


@pytest.mark.parametrize("text", REFUSED)
def test_nothing_that_is_refused_elsewhere_is_taken(text: str) -> None:
    with pytest.raises(Invalid):
        record_of(f'{{"event_type": "a.b", "data": {{"x": {text}}}}}')
