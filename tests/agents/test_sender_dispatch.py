"""When a call is claimed: when it may begin, not while it would only wait. What is slow costs the others nothing."""

from typing import Any

import pytest

from agents.sender.dispatch import DRAIN_MS, SLOW_AT_ONCE, SLOW_MS
from app.domain.outcome import OutcomeKind
from schemas.sends import Withdraw
from tests.agents.dispatching import TIMEOUT_MS, FewSlots, answer_questions, called, let_pass, reported, with_slots
from tests.agents.senders import PHONE, a_push, push, sms
from tests.agents.stage import DAY, MINUTE, NOON, a_send

# --- one call of a user at a time ---


def test_what_waits_for_an_earlier_call_of_its_user_is_not_claimed() -> None:
    stage = sms()
    for number in (1, 2, 3):
        stage.take(a_send(number))

    assert called(stage) == [1]
    assert reported(stage, 1, 2, 3) == [[("sending", None)], [], []]


def test_the_next_is_claimed_in_the_settle_of_the_one_before() -> None:
    stage = sms()
    for number in (3, 1, 2):
        stage.take(a_send(number))

    assert [int(name[-12:-4], 16) for name in stage.answer_all()] == [3, 1, 2]
    assert stage.rows_of("pauses") == {}
    assert [status for status, _ in stage.story(2)] == ["sending", "sent"]


@pytest.mark.parametrize("answer", ["ok", "drop", "bad_token", "retry", "throttle", "config", "in_doubt"])
def test_whatever_a_call_comes_to_the_next_has_its_turn(answer: OutcomeKind) -> None:
    stage = sms()
    stage.take(a_send(1))
    stage.take(a_send(2))
    stage.answer(answer)

    assert called(stage) == [2]


def test_users_do_not_wait_for_each_other_nor_devices_of_one_user() -> None:
    stage = with_slots(FewSlots(apns=10, fcm=10), "push", ("apns", "fcm"))
    stage.take(a_push(1))
    stage.take(a_push(2, user_id="u2"))
    stage.take(a_send(3, channel="push", device_id="d2"))

    assert called(stage) == [1, 2, 3]


def test_a_critical_call_waits_only_for_its_like() -> None:
    stage = sms()
    for number, priority in ((1, "normal"), (2, "critical"), (3, "critical"), (4, "normal")):
        stage.take(a_send(number, priority=priority))
    assert called(stage) == [1, 2]
    stage.answer("ok", stage.calls[1])

    assert called(stage) == [1, 3]


def test_bulk_goes_behind_what_a_user_is_sent_otherwise() -> None:
    stage = sms()
    for number, bulk in ((1, True), (2, True), (3, True), (4, False)):
        stage.take(a_send(number, bulk=bulk))

    assert [int(name[-12:-4], 16) for name in stage.answer_all()] == [1, 4, 2, 3]


def test_a_call_that_takes_long_no_longer_holds_up_its_user_and_a_few_may() -> None:
    stage = sms()
    for number in range(1, 10):
        stage.take(a_send(number))
    stage.wait(SLOW_MS - 1)
    assert called(stage) == [1]
    stage.wait(1)
    assert called(stage) == [1, 2]
    stage.wait(5 * SLOW_MS)

    assert called(stage) == list(range(1, 1 + SLOW_AT_ONCE))


def test_one_answer_in_eight_lost_does_not_keep_a_user_for_minutes() -> None:
    stage = sms()
    for number in range(1, 161):
        stage.take(a_send(number))
    begun = stage.now
    number = 0
    silent: list[Any] = []
    while stage.calls or silent:
        answer_questions(stage)
        for call in [call for call in stage.calls if call not in silent]:
            number += 1
            if number % 8 == 0:
                silent.append(call)
            else:
                stage.answer("ok", call)
        if [call for call in stage.calls if call not in silent]:
            continue
        over = min((call.claimed_at + TIMEOUT_MS for call in silent), default=stage.now)
        stage.wait(min(100, max(1, over - stage.now)))
        for call in [call for call in silent if call.claimed_at + TIMEOUT_MS <= stage.now]:
            silent.remove(call)
            stage.answer("in_doubt", call, doubt="timeout")

    assert number == 160
    assert stage.now - begun < 2 * MINUTE  # one after the other they took five


def test_after_a_crash_a_line_goes_on_without_the_call_that_was_lost() -> None:
    stage = sms()
    for number in (1, 2, 3):
        stage.take(a_send(number))
    stage.crash()
    stage.take(a_send(4))
    stage.wait(SLOW_MS)
    assert called(stage) == [2]
    stage.answer_all()

    assert reported(stage, 2, 3, 4) == [[("sending", None), ("sent", None)]] * 3


def test_doubts_after_a_crash_are_at_most_the_calls_that_were_under_way() -> None:
    stage = sms()
    for user in ("u2", "u3"):
        stage.command("profile.set", user, phone=PHONE, phone_verified=True)
    for number in range(1, 91):
        stage.take(a_send(number, user_id=f"u{1 + number % 3}"))
    under_way = {call.handle.send_id for call in stage.calls}
    assert len(under_way) == 3
    stage.crash()
    for _ in range(60):
        let_pass(stage, SLOW_MS)
        stage.answer_all()

    assert sum(event.status == "sent" for event in stage.events) == 87
    assert {event.send_id for event in stage.events if event.status == "in_doubt"} == under_way


def test_a_push_waits_in_line_by_device() -> None:
    stage = push()
    stage.take(a_push(1))
    stage.take(a_push(2))
    stage.answer("ok")

    assert called(stage) == [2]


def test_what_is_remembered_of_lines_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.sender.dispatch._WATCHES", 5)
    stage = sms()
    for user in range(20):
        stage.command("profile.set", f"v{user}", phone=PHONE, phone_verified=True)
        stage.take(a_send(2 * user + 1, user_id=f"v{user}"))
        stage.take(a_send(2 * user + 2, user_id=f"v{user}"))
        assert len(stage.state.watches) <= 5

    assert len(stage.answer_all()) == 40
    assert stage.state.flights == {}


# --- the last look, while it waits ---


def test_what_waits_in_line_is_looked_at_when_its_turn_comes() -> None:
    stage = sms()
    for number in (1, 2, 3):
        stage.take(a_send(number, expires_at=NOON + (MINUTE if number == 2 else DAY)))
    stage.now += MINUTE
    stage.answer("ok")

    assert stage.story(2) == [("expired", None)]
    assert called(stage) == [3]


def test_what_waits_in_line_expires_in_time_though_nothing_moves() -> None:
    stage = sms()
    stage.take(a_send(1))
    stage.take(a_send(2, expires_at=NOON + SLOW_MS - 500))
    stage.wait(SLOW_MS - 500)

    assert stage.story(2) == [("expired", None)]


def test_a_command_reaches_what_waits_in_line_at_once() -> None:
    stage = sms()
    for number in (1, 2, 3):
        stage.take(a_send(number))
    stage.command("preferences.set", preferences={"channels": {"sms": False}})

    assert reported(stage, 2, 3) == [[("suppressed", "opted_out")]] * 2


def test_what_waits_in_line_can_be_withdrawn_and_replaced() -> None:
    stage = sms()
    for number in (1, 2, 3, 4):
        stage.take(a_send(number, collapse_key="k" if number == 3 else None))
    stage.take(Withdraw(send_id=a_send(2).send_id, user_id="u1", status="cancelled"))
    stage.take(a_send(5, collapse_key="k"))
    assert reported(stage, 2, 3) == [[("cancelled", None)], [("suppressed", "replaced")]]

    assert [int(name[-12:-4], 16) for name in stage.answer_all()] == [1, 4, 5]


# --- slots ---


def test_without_a_slot_nothing_is_claimed_and_users_get_the_slots_in_order() -> None:
    slots = FewSlots(twilio=1)
    stage = with_slots(slots)
    for number, user in enumerate(("u1", "u2", "u3"), 1):
        stage.take(a_send(number, user_id=user))
    assert reported(stage, 1, 2, 3) == [[("sending", None)], [], []]

    order = []
    while stage.calls:
        order += called(stage)
        slots.free["twilio"] = 1
        stage.answer("ok")
    assert order == [1, 2, 3]
    assert stage.rows_of("pauses") == {}


def test_a_slot_that_another_partition_gave_back_is_found_by_looking() -> None:
    slots = FewSlots(twilio=0)
    stage = with_slots(slots)
    for number, user in enumerate(("u1", "u2", "u3"), 1):
        stage.take(a_send(number, user_id=user))
    slots.free["twilio"] = 2
    stage.wait(DRAIN_MS)

    assert called(stage) == [1, 2]


@pytest.mark.parametrize(("wait_ms", "looked_after_ms"), [(None, DRAIN_MS), (1, DRAIN_MS), (400, 400), (9_000, 1_000)])
def test_a_queue_is_looked_at_when_a_token_is_due_within_bounds(wait_ms: int | None, looked_after_ms: int) -> None:
    slots = FewSlots(twilio=0)
    slots.wait_ms = wait_ms
    stage = with_slots(slots)
    stage.take(a_send(1))
    slots.free["twilio"] = 1
    stage.wait(looked_after_ms - 1)
    assert called(stage) == []

    stage.wait(1)
    assert called(stage) == [1]


def test_a_queue_is_looked_at_sooner_for_one_that_may_begin_sooner() -> None:
    slots = FewSlots(twilio=0)
    slots.wait_ms = 1_000
    stage = with_slots(slots)
    stage.take(a_send(1, user_id="u1"))
    slots.wait_ms = None
    stage.take(a_send(2, user_id="u2", priority="critical"))
    slots.free["twilio"] = 1
    stage.wait(DRAIN_MS)

    assert called(stage) == [2]


def test_the_urgent_get_a_slot_first_and_bulk_last() -> None:
    slots = FewSlots(twilio=0)
    stage = with_slots(slots)
    stage.take(a_send(1, user_id="u1", bulk=True))
    stage.take(a_send(2, user_id="u2"))
    stage.take(a_send(3, user_id="u3", priority="critical"))
    order = []
    for _ in range(3):
        slots.free["twilio"] = 1
        stage.wait(DRAIN_MS)
        order += called(stage)
        stage.calls.clear()

    assert order == [3, 2, 1]


def test_a_provider_without_slots_holds_up_no_other() -> None:
    stage = with_slots(FewSlots(apns=0, fcm=9), "push", ("apns", "fcm"))
    for number in range(1, 6):
        stage.take(a_push(number))
    stage.take(a_send(6, channel="push", device_id="d2"))

    assert called(stage) == [6]


def test_a_send_that_is_over_makes_room_for_the_next_that_waits_for_a_slot() -> None:
    slots = FewSlots(twilio=0)
    stage = with_slots(slots)
    for number in (1, 2):
        stage.take(a_send(number))
    stage.command("notification.cancel", notification_id=a_send(1).notification_id, source="shop")
    slots.free["twilio"] = 1
    stage.wait(SLOW_MS)

    assert stage.story(1) == [("cancelled", None)]
    assert called(stage) == [2]
    assert len(stage.rows_of("pauses")) == 0


def test_behind_an_open_breaker_a_send_is_held_without_being_claimed() -> None:
    stage = with_slots(FewSlots(twilio=None))
    stage.take(a_send())

    assert stage.story() == [("held", "provider_outage")]
    assert stage.events[0].attempt is None


def test_where_one_provider_rests_the_next_is_called_at_once() -> None:
    stage = with_slots(FewSlots(twilio=None, vonage=1), "sms", ("twilio", "vonage"))
    stage.take(a_send())

    assert [call.provider for call in stage.calls] == ["vonage"]
    assert stage.story() == [("sending", None)]
