"""What roles tell each other goes by own topics: on the public ones its fields are unknown, whoever writes them."""

import json
from typing import Any

import pytest

from app.domain.addresses import address_hash
from app.domain.ids import positioned_notification_id
from app.domain.origin import ORIGIN
from schemas import topics
from schemas.decode import Invalid
from schemas.instants import rfc3339
from schemas.results import read_result
from tests.agents.harness import HOUR, NOON, POLICY, Harness
from tests.agents.stage import a_send
from tests.agents.test_sender_doubt import in_doubt

CAPPED = POLICY + "caps:\n  - {name: mails, channel: email, limit: 1, window: 24h}\n"


@pytest.mark.parametrize("end", ["sent", "failed", "unknown", "sending"])
def test_a_result_on_the_receipts_topic_is_a_receipt_without_status(end: str) -> None:
    router = Harness(CAPPED)
    router.known()
    router.request(event_type="mail.sent")
    before = [dict(rows.tables) for rows in router.rows]
    message = {"id": "r", "occurred_at": rfc3339(NOON), "settled": end, "reason": "invalid_token"}
    named = {"user_id": "ann", "send_id": router.sends[0].send_id}
    router.feed(topics.RECEIPTS, b"ann", json.dumps({**message, **named}).encode())

    assert [invalid.field for invalid in router.dead] == ["status"]
    assert [dict(rows.tables) for rows in router.rows] == before


def test_settled_beside_a_status_is_not_read() -> None:
    router = Harness(CAPPED)
    router.known()
    router.request(event_type="mail.sent")
    router.receipt(router.sends[0], "delivered", settled="failed")
    router.request(event_type="mail.sent")

    assert router.reported()[-1] == ("suppressed", "email", "rate_cap")  # its place was not given back


@pytest.mark.parametrize("fields", [{"settled": "sent"}, {"settled": "sent", "status": "sent"}])
def test_a_sender_takes_no_result_from_the_receipts_topic(fields: dict[str, Any]) -> None:
    stage = in_doubt()
    with pytest.raises(Invalid):
        stage.receipt(send_id=a_send().send_id, user_id="u1", **fields)

    assert stage.story()[-1] == ("in_doubt", "timeout")


def test_a_replay_id_makes_no_second_send_of_one_key() -> None:
    router = Harness()
    router.known()
    for replay in (None, "one", "two"):
        router.request(event_type="mail.sent", idempotency_key="k", replay_id=replay)

    assert [status for status, _, _ in router.reported()] == ["accepted", "queued", "repeated", "repeated"]
    assert {event["replay_id"] for event in router.events} == {None}


def test_a_hash_in_place_of_an_address_lists_nothing() -> None:
    router = Harness()
    router.known()
    hashed = address_hash("email", "ann@example.com").hex()
    router.command("suppression.add", None, channel="email", address_hash=hashed)
    router.command("suppression.add", None, channel="email", address="bob@example.com", address_hash=hashed)
    router.command("suppression.add", None, channel="email", address="ann@example.com")
    router.command("suppression.remove", None, channel="email", address_hash=hashed)

    known = router.states[0].known
    assert [invalid.field for invalid in router.dead] == ["address", "address"]
    assert known.is_suppressed("email", "ann@example.com")
    assert known.is_suppressed("email", "bob@example.com")


@pytest.mark.parametrize("user", ["ann", "bob", None])
def test_a_token_hash_takes_nobodys_device(user: str | None) -> None:
    router = Harness()
    router.known("ann")
    router.known("bob")
    hashed = address_hash("push", "token of ann d1").hex()
    router.command("device.remove", user, device_id="other", token_hash=hashed, unless_user="bob")
    router.command("device.remove", user, token_hash=hashed, unless_user="bob")

    assert all(invalid.field in ("device_id", "user_id") for invalid in router.dead)
    assert [len(router.states[0].known.devices(name)) for name in ("ann", "bob")] == [1, 1]


def test_what_the_router_broadcasts_has_its_own_topic_and_holds_nothing_of_a_user() -> None:
    router = Harness(partitions=3)
    router.known()
    router.request(event_type="mail.sent")
    (send,) = router.sends
    router.forget()
    router.receipt(send, "bounced", reason="hard")

    assert router.commands == []
    assert [message["type"] for message in router.broadcasts] == ["address.suppressed"] * 3
    assert "ann@" not in json.dumps(router.broadcasts)
    assert "user_id" not in json.dumps(router.broadcasts)


def test_a_result_of_a_send_that_is_no_longer_known_changes_nothing() -> None:
    router = Harness()
    router.known()
    router.request(event_type="mail.sent")
    send = router.sends[0]
    router.settled(send, "sent", send_id="5f1c9a52-0d57-8b0e-9a39-000000000000", notification_id="gone")

    assert router.dead == []
    assert router.reported()[-1] == ("queued", "email", None)


def test_an_old_form_on_the_results_topic_is_refused() -> None:
    with pytest.raises(Invalid):
        read_result(b'{"id": "r", "occurred_at": "2026-01-01T00:00:00Z", "settled": "sent", "send_id": "x"}')


# --- where a record lay first ---


def keyless(router: Harness, headers: Any = (), partition: int | None = None) -> str:
    """Feeds a request without key and id; returns the id that it got."""
    value = b'{"user_id": "bob", "event_type": "mail.sent", "content": {"title": "t", "body": "b"}}'
    router.feed(topics.EVENTS, b"bob", value, headers=headers, partition=partition)
    return str(router.last()["notification_id"])


@pytest.mark.parametrize("message", [b"notify_events:0:0", b"notify_events:0:0:" + b"0" * 64, b"\xff", b":::", b""])
def test_nobody_else_says_where_a_record_lay_first(message: bytes) -> None:
    router = Harness()
    router.known("bob")
    first = keyless(router)
    router.after(HOUR)
    second = keyless(router, [(ORIGIN, message)])

    assert second != first
    assert second == positioned_notification_id(topics.EVENTS, 0, 1)
    assert "repeated" not in [status for status, _, _ in router.reported()]
    assert router.dead == []


def test_a_forged_place_is_dropped_when_the_record_is_moved() -> None:
    router = Harness(partitions=4)
    router.known("bob")
    home = router.log[0].partition
    away = (home + 1) % 4
    got = keyless(router, [("other", b"kept"), (ORIGIN, b"notify_events:0:0")], partition=away)

    (moved,) = router.moved
    assert got == positioned_notification_id(topics.EVENTS, away, 0)
    assert [name for name, _ in moved.headers] == ["other", ORIGIN]


def test_a_moved_record_that_is_copied_changes_nothing_and_names_no_other() -> None:
    """Whoever may read the topic has the signature; it is over this record only."""
    router = Harness(partitions=4)
    router.known("bob")
    home = router.log[0].partition
    first = keyless(router, partition=(home + 1) % 4)
    (moved,) = router.moved
    router.forget()
    router.feed(topics.EVENTS, moved.key, moved.value, headers=moved.headers, partition=home)
    assert router.events == []

    other = b'{"user_id": "bob", "event_type": "mail.sent", "content": {"title": "t", "body": "another"}}'
    router.feed(topics.EVENTS, b"bob", other, headers=moved.headers, partition=home)
    assert router.last()["notification_id"] != first
