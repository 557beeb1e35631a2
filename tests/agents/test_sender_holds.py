"""Sends that wait for the end of a night, or lay too long; and that every wait ends."""

from typing import Any

import pytest

from app.domain.catalog import Catalog
from schemas.instants import rfc3339
from tests.agents.senders import sms
from tests.agents.stage import HOUR, MINUTE, NOON, a_send


def test_quiet_hours_take_a_send_back_to_held_and_let_it_go_at_their_end() -> None:
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send())
    stage.wait_for_call()

    assert stage.detail(0)["until"] == rfc3339(NOON + 20 * HOUR)
    assert stage.story() == [("held", "quiet_hours"), ("sending", None)]
    assert stage.events[1].occurred_at == rfc3339(NOON + 20 * HOUR)


def test_what_a_night_held_is_let_go_in_the_order_of_acceptance() -> None:
    stage = sms()
    stage.now = NOON + 11 * HOUR
    for number in (3, 1, 2):
        stage.take(a_send(number))
    stage.wait_for_call()

    assert stage.answer_all() == [a_send(n).send_id for n in (1, 2, 3)]


def test_of_what_was_accepted_in_one_batch_what_was_queued_first_is_let_go_first() -> None:
    stage = sms()
    stage.now = NOON + 11 * HOUR
    for number in (3, 1, 2):
        stage.take(a_send(number, accepted_at=NOON))
    stage.wait_for_call()

    assert stage.answer_all() == [a_send(n).send_id for n in (3, 1, 2)]


def test_a_user_who_turns_quiet_hours_off_gets_what_was_held_at_once() -> None:
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send())
    stage.command("preferences.set", preferences={"quiet_hours": {"enabled": False}})

    assert stage.story() == [("held", "quiet_hours"), ("sending", None)]
    stage.answer("ok")
    stage.wait(10 * HOUR)
    assert stage.story()[2:] == [("sent", None)]


def test_a_user_who_lengthens_the_night_is_told_the_new_end() -> None:
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send())
    hours = {"enabled": True, "start": "22:00", "end": "10:00"}
    stage.command("preferences.set", preferences={"quiet_hours": hours})
    stage.wait_for_call()

    assert [stage.detail(place)["until"] for place in (0, 1)] == [rfc3339(NOON + 20 * HOUR), rfc3339(NOON + 22 * HOUR)]
    assert stage.story() == [("held", "quiet_hours"), ("held", "quiet_hours"), ("sending", None)]


def test_a_command_that_changes_nothing_for_a_hold_says_nothing() -> None:
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
def test_a_command_ends_what_is_held_at_once(command: tuple[str, dict[str, Any]], end: tuple[str, str | None]) -> None:
    kind, fields = command
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send())
    stage.command(kind, **fields)

    assert stage.story() == [("held", "quiet_hours"), end]
    assert stage.rows_of("pauses") == {}


def test_a_hold_ends_as_expired_at_the_expiry_even_in_the_night() -> None:
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send(expires_at=NOON + 12 * HOUR))
    stage.wait(90 * MINUTE)

    assert stage.story() == [("held", "quiet_hours"), ("expired", None)]


def test_what_is_decided_after_queueing_names_the_policy_that_decided_it() -> None:
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send())
    stage.machine.catalog = Catalog(stage.machine.catalog.policy, 4, stage.machine.catalog.templates)
    stage.command("preferences.set", preferences={"channels": {"sms": False}})

    assert [(e.status, e.policy_version) for e in stage.events] == [("held", 3), ("suppressed", 4)]


def test_low_sends_that_lay_too_long_in_the_queue_are_shed() -> None:
    stage = sms()
    stage.take(a_send(priority="low"), recorded=NOON - 6 * HOUR)

    assert stage.story() == [("suppressed", "shed")]


def test_a_low_send_that_a_night_held_counts_from_its_end() -> None:
    stage = sms()
    stage.now = NOON + 10 * HOUR
    stage.take(a_send(priority="low"))
    stage.wait_for_call()

    assert stage.story() == [("held", "quiet_hours"), ("sending", None)]


def test_a_low_send_that_was_called_is_not_shed_however_long_its_retries_take() -> None:
    stage = sms()
    stage.take(a_send(priority="low"))
    stage.answer("throttle", retry_after_ms=7 * HOUR)
    stage.wait_for_call()

    assert [status for status, _ in stage.story()] == ["sending", "retrying", "sending"]


def test_a_wait_that_the_runner_put_off_still_ends() -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer("retry")
    stage.put_off(MINUTE)
    stage.wait_for_call()

    assert stage.story()[-1] == ("sending", None)


def test_a_wait_that_the_runner_put_off_does_not_end_a_later_one() -> None:
    stage = sms()
    stage.take(a_send())
    stage.put_off(1)
    stage.answer("retry")
    stage.wait_for_call()
    stage.wait(NOON + 21_000 - stage.now)  # past the first call's time, not yet the second's

    assert [status for status, _ in stage.story()] == ["sending", "retrying", "sending"]
