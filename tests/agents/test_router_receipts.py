"""What comes back of sends: told, and acted upon."""

import json
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import replace

from app.domain.addresses import address_hash
from schemas import topics
from schemas.instants import from_ms, rfc3339
from schemas.receipts import ReceiptStatus
from schemas.sends import Send
from tables.notifications import Notification, forgotten, with_receipt
from tests.agents.harness import HOUR, NOON, POLICY, Harness, catalog

CAPPED = POLICY + "caps:\n  - {name: mails, channel: email, limit: 1, window: 24h}\n"


def dead_since(send: Send, moment: int) -> dict[str, Any]:
    """What the push role reports of an address that its provider calls dead."""
    token = f"token of {send.user_id} {send.device_id}"
    return {"address_hash": address_hash("push", token).hex(), "called_at": NOON, "invalid_since": moment}


def sent(policy: str = POLICY, partitions: int = 1, **fields: Any) -> tuple[Harness, Send]:
    router = Harness(policy=policy, partitions=partitions)
    router.known()
    router.request(**{"event_type": "mail.sent", **fields})
    (send,) = router.sends
    router.forget()
    return router, send


@pytest.mark.parametrize(
    ("status", "reported"),
    [
        ("delivered", ["delivered"]),
        ("opened", ["delivered", "opened"]),
        ("clicked", ["delivered", "opened", "clicked"]),
        ("seen", ["delivered", "seen"]),
        ("read", ["delivered", "opened", "read"]),
    ],
)
def test_a_receipt_is_told_with_what_it_implies(status: str, reported: list[str]) -> None:
    router, send = sent()
    router.receipt(send, status)

    assert [event["status"] for event in router.events] == reported
    assert {event["send_id"] for event in router.events} == {send.send_id}


def test_what_was_told_is_not_implied_again() -> None:
    router, send = sent()
    router.receipt(send, "opened")
    router.receipt(send, "clicked")

    assert [event["status"] for event in router.events] == ["delivered", "opened", "clicked"]


def test_a_receipt_is_told_at_the_time_at_which_it_happened() -> None:
    router, send = sent()
    router.receipt(send, "delivered", occurred_at=rfc3339(NOON + 5))

    assert router.last()["occurred_at"] == rfc3339(NOON + 5)


@pytest.mark.parametrize("claimed", ["1970-01-02T00:00:00Z", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00Z"])
def test_a_receipt_from_a_wrong_clock_counts_as_its_records_time_and_is_kept(claimed: str) -> None:
    router, send = sent()
    router.receipt(send, "opened", occurred_at=claimed)

    assert [event["status"] for event in router.events] == ["delivered", "opened"]
    for event in router.events:
        assert event["occurred_at"] == rfc3339(router.now)
        assert event["detail"]["claimed_at"] == claimed


def test_a_receipt_whose_record_has_no_time_counts_as_of_now() -> None:
    router, send = sent()
    value = json.dumps({"id": "r", "occurred_at": rfc3339(5), "send_id": send.send_id, "status": "bounced"}).encode()
    router.feed(topics.RECEIPTS, None, value, timestamp=-1)

    assert router.last()["occurred_at"] == rfc3339(router.now)


def test_a_webhooks_receipt_knows_nothing_but_the_send() -> None:
    router, send = sent(partitions=4)
    router.receipt(send, "opened", bare=True)

    last = router.last()
    assert (last["user_id"], last["notification_id"], last["channel"]) == ("ann", send.notification_id, "email")


def test_a_receipt_with_a_key_but_no_user_goes_to_the_partition_in_its_send_id() -> None:
    router, send = sent(partitions=4)
    home = int(send.send_id[-4:], 16)
    message = {"id": "r", "occurred_at": rfc3339(NOON), "send_id": send.send_id.upper(), "status": "opened"}
    router.feed(topics.RECEIPTS, b"whatever", json.dumps(message).encode(), partition=(home + 1) % 4)

    assert [moved.partition for moved in router.moved] == [home]
    assert (router.last()["status"], router.last()["user_id"]) == ("opened", "ann")


def test_nobody_tells_of_another_users_send() -> None:
    router, send = sent()
    router.receipt(send, "opened", user_id="bob", notification_id=None, bare=True)
    value = router.log[-1].value
    router.feed(topics.RECEIPTS, b"bob", value)

    assert router.events == []
    assert router.dead == []


def test_word_of_a_notification_with_one_send_is_of_that_send() -> None:
    router, send = sent()
    router.receipt(send, "opened", send_id=None, channel=None)

    assert {(event["send_id"], event["channel"]) for event in router.events} == {(send.send_id, "email")}


def test_word_of_a_notification_with_several_sends_is_of_all_channels() -> None:
    router = Harness()
    router.known()
    router.request()
    send = router.sends[0]
    router.forget()
    router.receipt(send, "opened", send_id=None, channel=None)

    assert {(event["send_id"], event["channel"]) for event in router.events} == {(None, None)}


def test_the_same_receipt_again_tells_nothing_new() -> None:
    router, send = sent()
    router.receipt(send, "delivered")
    first = list(router.events)
    router.again(router.log[-1])

    assert all(event in first for event in router.events)


@pytest.mark.parametrize("machine", [False, True])
@pytest.mark.parametrize("claimed", ["", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("of", ["a send", "all channels"])
@pytest.mark.parametrize("status", get_args(ReceiptStatus))
def test_one_id_has_one_event_whatever_time_a_repeat_gives(status: str, of: str, claimed: str, machine: bool) -> None:
    router = Harness()
    router.known()
    router.request(channels=["push", "email"])
    send = router.sends[0]
    router.forget()
    named: dict[str, Any] = {} if of == "a send" else {"send_id": None, "channel": None}
    detail = {"machine": True} if machine else None
    for _ in range(3):
        router.receipt(send, status, id="once", occurred_at=claimed or rfc3339(router.now), detail=detail, **named)
        router.after(HOUR)

    assert router.events
    assert len({event["event_id"] for event in router.events}) == len(router.events)


def test_one_id_for_two_statuses_is_two_receipts() -> None:
    router, send = sent()
    router.receipt(send, "delivered", id="once")
    router.receipt(send, "opened", id="once")

    assert [event["status"] for event in router.events] == ["delivered", "opened"]


def test_of_many_receipts_the_latest_are_remembered_in_a_bounded_row() -> None:
    receipts = b""
    for number in range(100):
        receipts = with_receipt(receipts, f"r{number}", "opened") or b""
    assert len(receipts) == 64
    assert [with_receipt(receipts, f"r{number}", "opened") is None for number in (91, 92, 99, 100)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("named", ["send_id", "notification_id", "both"])
@pytest.mark.parametrize("by", ["a webhook", "a service", "a user"])
@pytest.mark.parametrize("status", get_args(ReceiptStatus))
def test_a_receipt_of_an_unknown_send_changes_nothing(status: str, by: str, named: str) -> None:
    router, _ = sent()
    before = [dict(rows.tables) for rows in router.rows]
    ids = {"send_id": "00000000-0000-4000-8000-000000000000", "notification_id": "no such"}
    message = {name: value for name, value in ids.items() if named in (name, "both")}
    if by != "a webhook" or named == "notification_id":
        message["user_id"] = "ann" if by == "a service" else "bob"
    value = json.dumps(
        {"id": "r", "occurred_at": rfc3339(NOON), "status": status, "reason": "hard", **message}
    ).encode()
    router.feed(topics.RECEIPTS, message["user_id"].encode() if "user_id" in message else None, value)

    assert (router.dead, router.events, router.commands, router.broadcasts) == ([], [], [], [])
    assert [dict(rows.tables) for rows in router.rows] == before


@pytest.mark.parametrize(
    ("status", "reason", "reported", "suppressed"),
    [
        ("bounced", "hard", "hard", True),
        ("bounced", "soft", "soft", False),
        ("complained", None, None, True),
        ("failed", "hard", "hard", True),
        ("failed", None, "soft", False),
    ],
)
def test_a_hard_bounce_or_a_complaint_suppresses_the_address_in_every_partition(
    status: str, reason: str | None, reported: str | None, suppressed: bool
) -> None:
    router, send = sent(partitions=3)
    given: dict[str, Any] = {"reason": reason} if reason else {}
    router.receipt(send, status, **given)

    assert router.last()["reason"] == reported
    hit = [state.known.is_suppressed("email", "ann@example.com") for state in router.states]
    assert hit == [suppressed] * 3


def test_a_bounce_suppresses_the_address_that_was_used_and_not_the_one_since() -> None:
    router, send = sent()
    router.command("profile.set", email="new@example.com")
    router.receipt(send, "bounced", reason="hard")

    known = router.states[0].known
    assert known.is_suppressed("email", "ann@example.com")
    assert not known.is_suppressed("email", "new@example.com")


def test_unsubscribing_opts_out_of_the_category_on_the_channel() -> None:
    router, send = sent(event_type="offer.made")
    router.receipt(send, "unsubscribed", bare=True)
    router.request(event_type="offer.made")
    router.request(event_type="mail.sent")

    assert [reported for reported in router.reported() if reported[0] not in ("accepted", "unsubscribed")] == [
        ("suppressed", "email", "opted_out"),
        ("queued", "email", None),
    ]


@pytest.mark.parametrize("reason", ["stop", "STOP"])
def test_an_sms_stop_puts_the_number_on_the_list(reason: str) -> None:
    router = Harness()
    router.known()
    router.request(channels=["sms"])
    router.receipt(router.sends[0], "unsubscribed", reason=reason, bare=True)

    assert router.states[0].known.is_suppressed("sms", "+442071838750")


def test_a_dead_token_takes_its_device_away() -> None:
    router = Harness()
    router.known()
    router.request(channels=["push"])
    router.settled(router.sends[0], "failed", reason="invalid_token", address=dead_since(router.sends[0], NOON + 1))

    assert router.states[0].known.devices("ann") == ()


def test_a_device_that_was_registered_since_stays() -> None:
    router = Harness()
    router.known()
    router.request(channels=["push"])
    router.after(HOUR)
    router.device()
    router.settled(router.sends[0], "failed", reason="invalid_token", address=dead_since(router.sends[0], NOON + 1))

    assert [device.device_id for device in router.states[0].known.devices("ann")] == ["d1"]


def test_a_place_is_given_back_though_the_policy_has_moved_the_event_type_since() -> None:
    of_mail = POLICY + "caps:\n  - {name: mails, category: mail, limit: 1, window: 24h}\n"
    router, send = sent(of_mail)
    moved = of_mail.replace("mail.sent: {category: mail,", "mail.sent: {category: orders,")
    router.machine.catalog = catalog(moved, version=2)
    router.settled(send, "failed")
    router.machine.catalog = catalog(of_mail, version=3)
    router.request(event_type="mail.sent")

    assert router.last()["status"] == "queued"


def test_an_end_without_acceptance_gives_the_place_back() -> None:
    router, send = sent(CAPPED)
    router.request(event_type="mail.sent")
    router.settled(send, "failed", reason="permanent")
    router.request(event_type="mail.sent")

    assert [reported for reported in router.reported() if reported[0] != "accepted"] == [
        ("suppressed", "email", "rate_cap"),
        ("queued", "email", None),
    ]


@pytest.mark.parametrize("end", ["sent", "unknown"])
def test_an_end_that_may_have_arrived_keeps_its_place(end: str) -> None:
    router, send = sent(CAPPED)
    router.settled(send, end)
    router.request(event_type="mail.sent")

    assert router.reported()[-1] == ("suppressed", "email", "rate_cap")


def test_a_notifications_place_stays_taken_as_long_as_one_of_its_sends_may_arrive() -> None:
    policy = POLICY + "caps:\n  - {name: day, limit: 1, window: 24h}\n"
    router = Harness(policy=policy)
    router.known()
    router.request()
    push, mail = router.sends
    router.settled(push, "failed", reason="permanent")
    router.request(event_type="mail.sent")
    router.settled(mail, "failed", reason="permanent")
    router.request(event_type="mail.sent")

    assert [reported for reported in router.reported() if reported[0] != "accepted"][2:] == [
        ("suppressed", "email", "rate_cap"),
        ("queued", "email", None),
    ]


def test_a_record_in_the_wrong_partition_is_moved_to_its_own() -> None:
    router = Harness(partitions=4)
    router.known("bob")
    home = router.log[0].partition
    value = b'{"user_id": "bob", "event_type": "mail.sent"}'
    wrong = router.feed(topics.EVENTS, b"bob", value, partition=(home + 1) % 4, timestamp=NOON - 5)

    (moved,) = router.moved
    origin = f"{wrong.topic}:{wrong.partition}:{wrong.offset}"
    assert (moved.partition, moved.timestamp_ms, router.counted_moved) == (home, NOON - 5, 1)
    assert [event["detail"].get("origin") for event in router.events] == [origin, None]
    assert router.sends[0].notification_id == router.events[0]["notification_id"]


def test_a_send_names_its_users_partition() -> None:
    router = Harness(partitions=4)
    router.known("bob")
    router.request("bob", "mail.sent")

    assert int(router.sends[0].send_id[-4:], 16) == router.log[0].partition


def test_a_token_belongs_to_the_user_who_added_it_last_across_partitions() -> None:
    router = Harness(partitions=4)
    users = [f"user{n}" for n in range(6)]
    for user in users:
        router.device(user, token="the same")
        router.after(1)

    holders = [user for user in users for state in router.states if state.known.devices(user)]
    assert holders == [users[-1]]


def test_a_claim_that_comes_late_does_not_take_the_token_from_its_newer_user() -> None:
    router = Harness(partitions=4)
    held: list[Any] = []
    feed = router.feed
    router.feed = lambda *args, **fields: held.append((args, fields))  # type: ignore[method-assign,assignment]
    for user in ("user0", "user1"):
        record = _device_record(router, user)
        feed(topics.COMMANDS, user.encode(), record)
        router.after(1)
    router.feed = feed  # type: ignore[method-assign]
    for args, fields in reversed(held):
        feed(*args, **fields)

    holders = [user for user in ("user0", "user1") for state in router.states if state.known.devices(user)]
    assert holders == ["user1"]


def _device_record(router: Harness, user: str) -> bytes:
    message = f'"id": "{user}", "at": "{from_ms(router.now).isoformat()}", "user_id": "{user}", "device_id": "d"'
    return f'{{"type": "device.add", {message}, "platform": "android", "token": "the same"}}'.encode()


def versions_of(router: Harness) -> set[tuple[Any, Any]]:
    return {(event.get("template_version"), event.get("variant")) for event in router.events}


@pytest.mark.parametrize("status", ["delivered", "opened", "clicked", "bounced", "complained", "unsubscribed"])
@pytest.mark.parametrize("end", ["sent", "unknown"])
def test_what_comes_back_names_the_version_that_was_rendered(status: str, end: str) -> None:
    router, send = sent()
    assert send.template_version == 1
    router.settled(send, end, template_version=2, variant="b")
    router.receipt(send, status)

    assert versions_of(router) == {(2, "b")}


def test_a_receipt_before_any_report_names_the_template_version_that_was_queued() -> None:
    router, send = sent()
    router.receipt(send, "delivered")

    assert versions_of(router) == {(1, None)}


def test_a_result_of_a_role_of_before_names_no_version() -> None:
    router, send = sent()
    router.settled(send, "sent")
    router.receipt(send, "opened")

    assert versions_of(router) == {(1, None)}


def test_a_row_of_before_is_read_and_a_version_noted_in_it() -> None:
    router, send = sent()
    [(key, value)] = router.rows[0].tables["notifications"].items()
    row = msgspec.msgpack.decode(value[1:])
    [part] = row[5]
    part[6] = [each[:5] for each in part[6]]
    router.rows[0].write("notifications", {key: value[:1] + msgspec.msgpack.encode(row)})
    router.receipt(send, "delivered")
    assert versions_of(router) == {(1, None)}

    router.events.clear()
    router.settled(send, "sent", template_version=2)
    router.receipt(send, "opened")
    assert versions_of(router) == {(2, None)}


def test_what_an_erased_users_send_rendered_and_brought_back_is_forgotten() -> None:
    router, send = sent()
    router.settled(send, "sent", template_version=2, variant="b")
    router.receipt(send, "delivered")
    [value] = router.rows[0].tables["notifications"].values()
    row = replace(msgspec.msgpack.decode(value[1:], type=Notification), receipts=b"of no send")
    assert row.parts[0].sends[0].receipts
    [left] = forgotten(row).parts[0].sends

    assert (left.template_version, left.variant, left.receipts) == (None, None, b"")
    assert forgotten(row).receipts == b""
