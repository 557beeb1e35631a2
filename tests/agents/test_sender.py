"""A send that goes well: claimed, called, ended, and nothing of the user left of it."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from agents.sender.context import ChannelConfig
from agents.sender.machine import SenderMachine
from schemas.decode import Invalid
from schemas.instants import rfc3339
from schemas.requests import PushOptions
from schemas.sends import Item, Send
from tests.agents.senders import PHONE, a_push, push, sms
from tests.agents.stage import DAY, NOON, Stage, a_catalog, a_send


def test_a_send_is_claimed_called_and_ends_as_sent() -> None:
    stage = sms()
    stage.take(a_send())
    stage.now += 120
    stage.answer("ok", provider_message_id="SM1")

    assert stage.story() == [("sending", None), ("sent", None)]
    assert stage.reported() == [("sent", None)]
    assert stage.events[1].provider_message_id == "SM1"
    assert stage.events[1].detail == {"latency_ms": 1119}
    assert {(e.provider, e.attempt) for e in stage.events} == {("twilio", 1)}


def test_events_say_all_that_the_send_says() -> None:
    stage = sms()
    stage.take(a_send(replay_id="r1", variant="b", bulk=True))

    reported = msgspec.structs.asdict(stage.events[0])
    expected = {
        "notification_id": a_send().notification_id,
        "user_id": "u1",
        "send_id": a_send().send_id,
        "channel": "sms",
        "event_type": "order.shipped",
        "category": "orders",
        "priority": "normal",
        "source": "shop",
        "campaign_id": "c1",
        "template_id": "greeting",
        "template_version": 7,
        "variant": "b",
        "policy_version": 3,
        "replay_id": "r1",
        "occurred_at": rfc3339(NOON),
    }
    assert {name: reported[name] for name in expected} == expected


def test_the_call_carries_the_message_the_address_and_the_name_of_the_send() -> None:
    stage = Stage(SenderMachine(a_catalog(), ChannelConfig("sms", {"twilio": 9_000}, public_url="https://n.example/")))
    stage.command("profile.set", phone=PHONE, phone_verified=True)
    stage.take(a_send(collapse_key="thread-1"))
    call = stage.calls[0]

    assert call.message.body == "Hello Ada"
    assert call.to.value == PHONE
    assert call.timeout_ms == 9_000
    assert call.handle.send_id == a_send().send_id
    assert len(call.handle.collapse_id) == 64
    assert call.handle.callback_url is not None
    named = f"attempt=1&notification_id={a_send().notification_id}&send_id={a_send().send_id}"
    assert call.handle.callback_url == f"https://n.example/v1/webhooks/twilio?{named}"


def test_without_a_collapse_key_the_send_id_is_the_collapse_id() -> None:
    stage = push()
    stage.take(a_push())

    assert stage.calls[0].handle.collapse_id == a_send().send_id


@pytest.mark.parametrize("options", [None, PushOptions(badge=2, data={"order": "9"}), PushOptions(silent=True)])
def test_a_push_is_called_with_what_the_request_said_of_it(options: PushOptions | None) -> None:
    stage = push()
    stage.take(a_push(push=options))

    message = stage.calls[0].message
    assert (message.push, message.data) == (options, (options.data if options else None) or {})


def test_a_push_goes_to_the_devices_token_as_it_is_now_and_events_name_the_device() -> None:
    stage = push()
    stage.command("device.add", device_id="d1", platform="ios", token="cd" * 32)
    stage.take(a_push())

    assert stage.calls[0].provider == "apns"
    assert stage.calls[0].to.value == "cd" * 32
    assert stage.events[0].detail == {"device_id": "d1"}


def test_the_same_record_again_does_nothing_again() -> None:
    stage = sms()
    stage.take(a_send(), offset=100)
    stage.take(a_send(), offset=100)
    stage.answer("ok")
    stage.take(a_send(), offset=100)

    assert stage.story() == [("sending", None), ("sent", None)]
    assert stage.calls == []


def test_an_ended_row_keeps_nothing_of_the_user_and_expires() -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer("ok")

    [row] = stage.rows_of("attempts").values()
    assert b"u1" not in row
    assert b"Ada" not in row
    assert stage.rows_of("schedule") == {}
    assert stage.rows_of("pauses") == {}


def test_a_send_of_another_channel_is_refused() -> None:
    stage = sms()

    with pytest.raises(Invalid) as refused:
        stage.read("notify_send_sms", msgspec.json.encode(a_push()))
    assert refused.value.field == "channel"


def test_a_receipt_that_cannot_be_read_is_left_to_the_router() -> None:
    stage = sms()
    receipts = next(i for i in stage.machine.subscriptions if i.topic == "notify_receipts")

    assert not receipts.owned


def test_a_record_without_a_value_is_passed_over() -> None:
    stage = sms()
    stage.read("notify_send_sms", None)

    assert stage.events == []


def test_the_role_has_no_views() -> None:
    stage = sms()
    with pytest.raises(LookupError):
        stage.machine.read("inbox", "u1", {}, stage.state, stage.now)


def test_a_send_keeps_until_a_day_after_its_topic() -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer("ok")
    key = next(iter(stage.rows_of("attempts")))

    assert stage.state.attempts.get(key).expires - stage.now > 7 * DAY


@pytest.mark.parametrize(
    "unreadable",
    [
        {"data": msgspec.Raw(b'{"n":1e999}')},
        {"data": msgspec.Raw(b"[1]")},
        {"data": msgspec.Raw(b"null")},
        {"items": [Item(notification_id="n", event_type="a.b", at=rfc3339(NOON), data=msgspec.Raw(b"-1e999"))]},
    ],
    ids=["number", "list", "null", "item"],
)
@pytest.mark.parametrize("made", [(sms, a_send), (push, a_push)], ids=["sms", "push"])
def test_data_that_an_earlier_version_took_and_nobody_can_read_has_an_end(
    made: tuple[Callable[[], Stage], Callable[..., Send]], unreadable: dict[str, Any]
) -> None:
    stage_of, a_send_of = made
    stage = stage_of()
    stage.take(a_send_of(**unreadable))
    assert stage.story() == [("failed", "bad_template")]
    assert not stage.calls
