"""A send on its way: the last look, the claim, the answer, the wait, the end."""

import msgspec
import pytest

from agents.calls import Result
from agents.sender import SenderMachine
from agents.turn import Carrier
from app.domain.catalog import Catalog
from app.domain.outcome import LANE_RESTS, Outcome
from schemas.decode import Invalid
from schemas.instants import rfc3339
from schemas.sends import Withdraw
from tests.agents.stage import DAY, HOUR, MINUTE, NOON, Stage, a_catalog, a_send

PHONE = "+442071838750"


def sms(providers=("twilio",), **policy) -> Stage:
    stage = Stage(SenderMachine(a_catalog(**policy), Carrier("sms", dict.fromkeys(providers, 15_000))))
    stage.command("profile.set", phone=PHONE, phone_verified=True, timezone="Europe/London")
    return stage


def push(providers=("apns", "fcm")) -> Stage:
    stage = Stage(SenderMachine(a_catalog(), Carrier("push", dict.fromkeys(providers, 15_000))))
    stage.command("profile.set", timezone="Europe/London")
    stage.command("device.add", device_id="d1", platform="ios", token="ab" * 32)
    return stage


def email(unsubscribe_url=None) -> Stage:
    stage = Stage(SenderMachine(a_catalog(), Carrier("email", {"ses": 15_000}, unsubscribe_url=unsubscribe_url)))
    stage.command("profile.set", email="ada@example.com")
    return stage


def a_push(number: int = 1, **changes):
    return a_send(number, channel="push", device_id="d1", **changes)


# --- the way of a send that goes well


def test_a_send_is_claimed_called_and_ends_as_sent():
    stage = sms()
    stage.take(a_send())
    stage.now += 120
    stage.answer("ok", provider_message_id="SM1")

    assert stage.story() == [("sending", None), ("sent", None)]
    assert stage.told() == [("sending", None), ("sent", None)]
    assert stage.events[1].provider_message_id == "SM1"
    assert stage.events[1].detail == {"latency_ms": 1119}
    assert {(e.provider, e.attempt) for e in stage.events} == {("twilio", 1)}


def test_events_say_all_that_the_send_says():
    stage = sms()
    stage.take(a_send(replay_id="r1", variant="b", bulk=True))

    told = msgspec.structs.asdict(stage.events[0])
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
    assert {name: told[name] for name in expected} == expected


def test_the_call_carries_the_message_the_address_and_the_name_of_the_send():
    stage = Stage(SenderMachine(a_catalog(), Carrier("sms", {"twilio": 9_000}, public_url="https://n.example/")))
    stage.command("profile.set", phone=PHONE, phone_verified=True)
    stage.take(a_send(collapse_key="thread-1"))
    call = stage.calls[0]

    assert call.message.body == "Hello Ada"
    assert call.to.value == PHONE
    assert call.timeout_ms == 9_000
    assert call.handle.send_id == a_send().send_id
    assert len(call.handle.collapse_id) == 64
    assert call.handle.callback_url is not None
    assert call.handle.callback_url.startswith(f"https://n.example/v1/webhooks/twilio?send_id={a_send().send_id}&")


def test_without_a_collapse_key_the_send_id_is_the_collapse_id():
    stage = push()
    stage.take(a_push())

    assert stage.calls[0].handle.collapse_id == a_send().send_id


def test_a_push_goes_to_the_devices_token_as_it_is_now_and_events_name_the_device():
    stage = push()
    stage.command("device.add", device_id="d1", platform="ios", token="cd" * 32)
    stage.take(a_push())

    assert stage.calls[0].provider == "apns"
    assert stage.calls[0].to.value == "cd" * 32
    assert stage.events[0].detail == {"device_id": "d1"}


def test_the_same_record_again_does_nothing_again():
    stage = sms()
    stage.take(a_send(), offset=100)
    stage.take(a_send(), offset=100)
    stage.answer("ok")
    stage.take(a_send(), offset=100)

    assert stage.story() == [("sending", None), ("sent", None)]
    assert stage.calls == []


def test_an_ended_row_keeps_nothing_of_the_user_and_expires():
    stage = sms()
    stage.take(a_send())
    stage.answer("ok")

    [row] = stage.rows_of("attempts").values()
    assert b"u1" not in row
    assert b"Ada" not in row
    assert stage.rows_of("schedule") == {}
    assert stage.rows_of("pauses") == {}


def test_a_send_of_another_channel_is_refused():
    stage = sms()

    with pytest.raises(Invalid) as refused:
        stage.read("notify_send_sms", msgspec.json.encode(a_push()))
    assert refused.value.field == "channel"


def test_a_receipt_that_cannot_be_read_is_left_to_the_router():
    stage = sms()
    receipts = next(i for i in stage.machine.intakes if i.topic == "notify_receipts")

    assert not receipts.owned


# --- the last look


@pytest.mark.parametrize(
    ("command", "end"),
    [
        (("user.erase", {}), ("suppressed", "erased")),
        (("notification.cancel", {"notification_id": a_send().notification_id}), ("cancelled", None)),
        (("notification.cancel", {"campaign_id": "c1"}), ("cancelled", None)),
        (("preferences.set", {"preferences": {"channels": {"sms": False}}}), ("suppressed", "opted_out")),
        (("consent.set", {"channel": "sms", "category": "orders", "granted": False}), ("suppressed", "no_consent")),
        (("preferences.set", {"preferences": {"dnd": {"enabled": True}}}), ("suppressed", "dnd")),
        (("suppression.add", {"channel": "sms", "address": PHONE}), ("suppressed", "suppression_list")),
        (("profile.set", {"phone": None}), ("suppressed", "no_address")),
        (("profile.set", {"phone_verified": False}), ("suppressed", "unverified")),
    ],
    ids=lambda value: str(value[1]) if isinstance(value, tuple) else None,
)
def test_what_became_known_before_the_call_stops_it(command, end):
    kind, fields = command
    stage = sms()
    stage.command(kind, **fields)
    stage.take(a_send())

    assert stage.story() == [end]
    assert stage.told() == [end]
    assert stage.calls == []


def test_a_cancel_counts_only_for_its_source():
    stage = sms()
    stage.command("notification.cancel", notification_id=a_send().notification_id, source="another")
    stage.take(a_send())

    assert stage.story() == [("sending", None)]


def test_a_cancel_for_everyone_counts():
    stage = sms()
    stage.command("notification.cancel", user_id=None, campaign_id="c1", source="shop")
    stage.take(a_send())

    assert stage.story() == [("cancelled", None)]


def test_nothing_is_sent_after_its_expiry():
    stage = sms()
    stage.take(a_send(expires_at=NOON))

    assert stage.story() == [("expired", None)]


def test_a_device_that_is_gone_is_no_address():
    stage = push()
    stage.command("device.remove", device_id="d1")
    stage.take(a_push())

    assert stage.story() == [("suppressed", "no_address")]


def test_without_a_provider_that_has_settings_there_is_no_provider():
    stage = push(providers=("fcm",))
    stage.take(a_push())

    assert stage.story() == [("failed", "no_provider")]


@pytest.mark.parametrize("changes", [{"template_id": "gone"}, {"data": msgspec.Raw(b"{}")}])
def test_a_template_that_is_unknown_or_cannot_be_rendered_fails_the_send(changes):
    stage = sms()
    stage.take(a_send(**changes))

    assert stage.story() == [("failed", "bad_template")]
    assert stage.calls == []


def test_critical_ignores_dnd_quiet_hours_and_shedding():
    stage = sms()
    stage.command("preferences.set", preferences={"dnd": {"enabled": True}})
    stage.now = NOON + 11 * HOUR
    stage.take(a_send(priority="critical", event_type="login.otp", category="security"))

    assert stage.story() == [("sending", None)]


def test_what_nobody_may_opt_out_of_ignores_the_preference():
    stage = sms()
    stage.command("preferences.set", preferences={"channels": {"sms": False}})
    stage.take(a_send(priority="critical", event_type="login.otp", category="security"))

    assert stage.story() == [("sending", None)]


# --- quiet hours


def test_quiet_hours_take_a_send_back_to_held_and_let_it_go_at_their_end():
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send())
    stage.wait_for_call()

    assert stage.events[0].detail == {"until": rfc3339(NOON + 20 * HOUR)}
    assert stage.story() == [("held", "quiet_hours"), ("sending", None)]
    assert stage.events[1].occurred_at == rfc3339(NOON + 20 * HOUR)


def test_what_a_night_held_is_let_go_in_the_order_of_acceptance():
    stage = sms()
    stage.now = NOON + 11 * HOUR
    for number in (3, 1, 2):
        stage.take(a_send(number))
    stage.wait_for_call()

    assert [call.handle.send_id for call in stage.calls] == [a_send(n).send_id for n in (1, 2, 3)]


def test_a_user_who_turns_quiet_hours_off_gets_what_was_held_at_once():
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send())
    stage.command("preferences.set", preferences={"quiet_hours": {"enabled": False}})

    assert stage.story() == [("held", "quiet_hours"), ("sending", None)]
    stage.answer("ok")
    stage.wait(10 * HOUR)
    assert stage.story()[2:] == [("sent", None)]


def test_a_user_who_lengthens_the_night_is_told_the_new_end():
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send())
    hours = {"enabled": True, "start": "22:00", "end": "10:00"}
    stage.command("preferences.set", preferences={"quiet_hours": hours})
    stage.wait_for_call()

    assert [e.detail for e in stage.events[:2]] == [
        {"until": rfc3339(NOON + 20 * HOUR)},
        {"until": rfc3339(NOON + 22 * HOUR)},
    ]
    assert stage.story() == [("held", "quiet_hours"), ("held", "quiet_hours"), ("sending", None)]


def test_a_command_that_changes_nothing_for_a_hold_says_nothing():
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send())
    stage.command("profile.set", name="Ada")

    assert stage.story() == [("held", "quiet_hours")]


@pytest.mark.parametrize(
    ("command", "end"),
    [
        (("user.erase", {}), ("suppressed", "erased")),
        (("notification.cancel", {"notification_id": a_send().notification_id}), ("cancelled", None)),
        (("preferences.patch", {"preferences": {"dnd": {"enabled": True}}}), ("suppressed", "dnd")),
    ],
    ids=str,
)
def test_a_command_ends_what_is_held_at_once(command, end):
    kind, fields = command
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send())
    stage.command(kind, **fields)

    assert stage.story() == [("held", "quiet_hours"), end]
    assert stage.rows_of("pauses") == {}


def test_a_hold_ends_as_expired_at_the_expiry_even_in_the_night():
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send(expires_at=NOON + 12 * HOUR))
    stage.wait(90 * MINUTE)

    assert stage.story() == [("held", "quiet_hours"), ("expired", None)]


def test_what_is_decided_after_queueing_names_the_policy_that_decided_it():
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send())
    stage.machine.catalog = Catalog(stage.machine.catalog.policy, 4, stage.machine.catalog.templates)
    stage.command("preferences.set", preferences={"channels": {"sms": False}})

    assert [(e.status, e.policy_version) for e in stage.events] == [("held", 3), ("suppressed", 4)]


# --- shedding


def test_low_sends_that_lay_too_long_in_the_queue_are_shed():
    stage = sms()
    stage.take(a_send(priority="low"), recorded=NOON - 6 * HOUR)

    assert stage.story() == [("suppressed", "shed")]


def test_a_low_send_that_a_night_held_counts_from_its_end():
    stage = sms()
    stage.now = NOON + 10 * HOUR
    stage.take(a_send(priority="low"))
    stage.wait_for_call()

    assert stage.story() == [("held", "quiet_hours"), ("sending", None)]


def test_a_low_send_that_was_called_is_not_shed_however_long_its_retries_take():
    stage = sms()
    stage.take(a_send(priority="low"))
    stage.answer("throttle", retry_after_ms=7 * HOUR)
    stage.wait_for_call()

    assert [status for status, _ in stage.story()] == ["sending", "retrying", "sending"]


# --- what falls due


def test_a_wait_that_the_runner_put_off_still_ends():
    stage = sms()
    stage.take(a_send())
    stage.answer("retry")
    stage.put_off(MINUTE)
    stage.wait_for_call()

    assert stage.story()[-1] == ("sending", None)


def test_a_wait_that_the_runner_put_off_does_not_end_a_later_one():
    stage = sms()
    stage.take(a_send())
    stage.put_off(1)
    stage.answer("retry")
    stage.wait_for_call()
    stage.wait(NOON + 21_000 - stage.now)  # past the first call's time, not yet the second's

    assert [status for status, _ in stage.story()] == ["sending", "retrying", "sending"]


# --- answers


def test_a_refusal_is_tried_again_after_a_wait_and_counts():
    stage = sms()
    stage.take(a_send())
    stage.answer("retry", code="503")
    stage.wait_for_call()
    stage.answer("ok")

    assert stage.story() == [("sending", None), ("retrying", "503"), ("sending", None), ("sent", None)]
    assert [e.attempt for e in stage.events] == [1, 1, 2, 2]
    assert set(stage.events[1].detail or {}) == {"retry_at", "error"}
    assert stage.told() == [("sending", None), ("sent", None)]


def test_attempts_that_are_used_up_fail_the_send():
    stage = sms()
    stage.take(a_send())
    for _ in range(3):
        stage.answer("retry")
        stage.wait_for_call()

    assert stage.story()[-1] == ("failed", "retries_exhausted")
    assert stage.calls == []


def test_throttling_goes_on_until_the_expiry_and_burns_no_attempt():
    stage = sms()
    stage.take(a_send(expires_at=NOON + 10 * MINUTE))
    while stage.calls:
        stage.answer("throttle", code="429", retry_after_ms=30_000)
        stage.wait_for_call()

    assert stage.story()[-1] == ("expired", None)
    assert {e.attempt for e in stage.events if e.status == "sending"} == {1}
    assert stage.events[-1].occurred_at == rfc3339(NOON + 10 * MINUTE)


def test_wrong_settings_fail_over_to_the_next_provider():
    stage = sms(providers=("twilio", "vonage"))
    stage.take(a_send())
    stage.answer("config", code="20003")
    stage.wait(0)

    assert stage.story() == [("sending", None), ("retrying", "20003"), ("sending", None)]
    assert [e.provider for e in stage.events] == ["twilio", "twilio", "vonage"]
    assert {e.attempt for e in stage.events} == {1}


def test_a_resting_lane_holds_the_send_as_an_outage():
    stage = sms()
    stage.take(a_send())
    stage.answer("throttle", code=LANE_RESTS, retry_after_ms=5_000)
    held = stage.events[-1]
    stage.wait_for_call()
    stage.answer("ok")

    assert (held.status, held.reason) == ("held", "provider_outage")
    assert set(held.detail or {}) == {"until"}
    assert stage.story()[2:] == [("sending", None), ("sent", None)]


def test_a_retry_that_falls_into_the_night_is_held():
    stage = sms()
    stage.now = NOON + 10 * HOUR - 1_000
    stage.take(a_send())
    stage.answer("retry")
    stage.wait_for_call()

    statuses = [status for status, _ in stage.story()]
    assert statuses == ["sending", "retrying", "held", "sending"]


def test_a_preference_given_while_a_send_waits_for_its_retry_ends_it_at_once():
    stage = sms()
    stage.take(a_send())
    stage.answer("retry")
    stage.command("preferences.set", preferences={"channels": {"sms": False}})

    assert stage.story()[-1] == ("suppressed", "opted_out")
    assert stage.rows_of("schedule") == {}


def test_a_command_does_not_bring_a_retry_forward():
    stage = sms()
    stage.take(a_send())
    stage.answer("retry")
    stage.command("profile.set", name="Ada")

    assert stage.calls == []


def test_a_dead_token_fails_the_send_and_tells_the_router_what_to_retire():
    stage = push()
    stage.take(a_push())
    stage.answer("bad_token", code="Unregistered", invalid_since_ms=NOON - 5)
    told = stage.receipts[-1]

    assert stage.story()[-1] == ("failed", "invalid_token")
    assert stage.events[-1].detail == {"error": "Unregistered", "device_id": "d1"}
    assert told.detail is not None
    assert told.detail["device_id"] == "d1"
    assert told.detail["invalid_since"] == NOON - 5
    assert told.detail["called_at"] == NOON
    assert bytes.fromhex(told.detail["address_hash"]) == stage.state.knowledge.devices("u1")[0].token_hash


def test_a_number_that_said_stop_to_the_provider_is_told_to_the_router():
    stage = sms()
    stage.take(a_send())
    stage.answer("drop", code="21610", why="opted_out")

    assert stage.story()[-1] == ("failed", "permanent")
    assert stage.receipts[-1].detail is not None
    assert stage.receipts[-1].detail["opted_out"] is True


def test_no_address_is_in_any_event_or_receipt():
    stage = sms()
    stage.take(a_send())
    stage.answer("bad_token", code="21211")

    assert PHONE not in repr(stage.events) + repr(stage.receipts)


def test_a_call_that_was_not_made_is_looked_at_again_with_the_same_attempt():
    stage = sms()
    stage.take(a_send())
    stage.now += 900
    stage.answer(None)
    stage.answer("ok")

    assert stage.story() == [("sending", None), ("sent", None)]
    assert {e.attempt for e in stage.events} == {1}


def test_a_call_that_was_not_made_is_not_made_after_an_opt_out():
    stage = sms()
    stage.take(a_send())
    stage.command("preferences.set", preferences={"channels": {"sms": False}})
    stage.answer(None)

    assert stage.story() == [("sending", None), ("suppressed", "opted_out")]
    assert stage.calls == []


# --- one-click unsubscribing


def test_marketing_mail_can_be_unsubscribed_from_with_one_click():
    stage = email(unsubscribe_url=lambda send: f"https://n.example/v1/unsubscribe/{send.user_id}")
    stage.take(a_send(channel="email", category="marketing", event_type="sale"))

    assert stage.calls[0].message.headers == {
        "List-Unsubscribe": "<https://n.example/v1/unsubscribe/u1>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def test_other_mail_has_no_unsubscribe_header():
    stage = email(unsubscribe_url=lambda send: "https://n.example/u")
    stage.take(a_send(channel="email"))

    assert stage.calls[0].message.headers == {}


# --- taken back, replaced


def withdraw(number: int = 1, status: str = "cancelled", **given) -> Withdraw:
    return Withdraw(send_id=a_send(number).send_id, user_id="u1", status=status, **given)


def test_what_the_router_takes_back_ends_if_no_call_was_made():
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send())
    stage.take(withdraw(status="suppressed", reason="replaced", by="n2"))

    assert stage.story() == [("held", "quiet_hours"), ("suppressed", "replaced")]
    assert stage.events[-1].detail == {"by": "n2"}
    assert stage.told() == [("suppressed", "replaced")]


def test_what_is_taken_back_before_it_comes_is_never_called():
    stage = sms()
    stage.take(withdraw())
    stage.take(a_send())
    stage.take(a_send())

    assert stage.story() == [("cancelled", None)]


def test_what_is_being_called_is_not_taken_back():
    stage = sms()
    stage.take(a_send())
    stage.take(withdraw())
    stage.answer("ok")

    assert stage.story() == [("sending", None), ("sent", None)]


def test_what_was_not_sent_yet_is_cancelled_instead_of_tried_again():
    stage = sms()
    stage.take(a_send())
    stage.take(withdraw())
    stage.answer("retry")

    assert stage.story() == [("sending", None), ("cancelled", None)]


def test_a_send_that_waits_for_its_retry_can_be_cancelled_but_not_replaced():
    stage = sms()
    stage.take(a_send())
    stage.answer("retry")
    stage.take(withdraw(status="suppressed", reason="replaced"))
    assert stage.story()[-1][0] == "retrying"

    stage.take(withdraw())
    assert stage.story()[-1] == ("cancelled", None)


def test_taking_back_what_has_ended_does_nothing():
    stage = sms()
    stage.take(a_send())
    stage.answer("ok")
    stage.take(withdraw())

    assert stage.story() == [("sending", None), ("sent", None)]


def test_a_newer_send_replaces_held_ones_of_its_collapse_key():
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send(1, collapse_key="k"))
    stage.take(a_send(2, collapse_key="other"))
    stage.take(a_send(3, collapse_key="k"))

    assert stage.story(1) == [("held", "quiet_hours"), ("suppressed", "replaced")]
    assert stage.events[-2].detail == {"by": a_send(3).notification_id}
    assert stage.story(2) == stage.story(3) == [("held", "quiet_hours")]


def test_a_send_that_began_is_not_replaced():
    stage = sms()
    stage.take(a_send(1, collapse_key="k"))
    stage.answer("retry")
    stage.take(a_send(2, collapse_key="k"))

    assert [status for status, _ in stage.story(1)] == ["sending", "retrying"]


def test_an_older_send_that_comes_later_replaces_nothing():
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send(2, collapse_key="k"))
    stage.take(a_send(1, collapse_key="k"))

    assert stage.story(2) == [("held", "quiet_hours")]


# --- late answers


def test_an_answer_that_comes_after_the_end_changes_nothing():
    stage = sms()
    stage.take(a_send())
    call = stage.calls[0]
    stage.answer("ok")
    stage.settle(Result(call, Outcome("retry")))

    assert stage.story() == [("sending", None), ("sent", None)]


def test_a_record_without_a_value_is_passed_over():
    stage = sms()
    stage.read("notify_send_sms", None)

    assert stage.events == []


def test_the_role_has_no_views():
    stage = sms()
    with pytest.raises(LookupError):
        stage.machine.read("inbox", "u1", {}, stage.state, stage.now)


def test_a_send_keeps_until_a_day_after_its_topic():
    stage = sms()
    stage.take(a_send())
    stage.answer("ok")
    key = next(iter(stage.rows_of("attempts")))

    assert stage.state.attempts.get(key).expires - stage.now > 7 * DAY
