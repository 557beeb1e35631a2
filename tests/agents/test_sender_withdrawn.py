"""Sends that the router takes back, and those that a newer one replaces."""

from typing import Any, Literal

from schemas.sends import Withdraw
from tests.agents.senders import sms
from tests.agents.stage import HOUR, NOON, a_send


def withdraw(number: int = 1, status: Literal["cancelled", "suppressed"] = "cancelled", **given: Any) -> Withdraw:
    return Withdraw(send_id=a_send(number).send_id, user_id="u1", status=status, **given)


def test_what_the_router_takes_back_ends_if_no_call_was_made() -> None:
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send())
    stage.take(withdraw(status="suppressed", reason="replaced", by="n2"))

    assert stage.story() == [("held", "quiet_hours"), ("suppressed", "replaced")]
    assert stage.events[-1].detail == {"by": "n2"}
    assert stage.reported() == [("suppressed", "replaced")]


def test_what_is_taken_back_before_it_comes_is_never_called() -> None:
    stage = sms()
    stage.take(withdraw())
    stage.take(a_send())
    stage.take(a_send())

    assert stage.story() == [("cancelled", None)]


def test_what_is_being_called_is_not_taken_back() -> None:
    stage = sms()
    stage.take(a_send())
    stage.take(withdraw())
    stage.answer("ok")

    assert stage.story() == [("sending", None), ("sent", None)]


def test_what_was_not_sent_yet_is_cancelled_instead_of_tried_again() -> None:
    stage = sms()
    stage.take(a_send())
    stage.take(withdraw())
    stage.answer("retry")

    assert stage.story() == [("sending", None), ("cancelled", None)]


def test_a_send_that_waits_for_its_retry_can_be_cancelled_but_not_replaced() -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer("retry")
    stage.take(withdraw(status="suppressed", reason="replaced"))
    assert stage.story()[-1][0] == "retrying"

    stage.take(withdraw())
    assert stage.story()[-1] == ("cancelled", None)


def test_taking_back_what_has_ended_does_nothing() -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer("ok")
    stage.take(withdraw())

    assert stage.story() == [("sending", None), ("sent", None)]


def test_a_newer_send_replaces_held_ones_of_its_collapse_key() -> None:
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send(1, collapse_key="k"))
    stage.take(a_send(2, collapse_key="other"))
    stage.take(a_send(3, collapse_key="k"))

    assert stage.story(1) == [("held", "quiet_hours"), ("suppressed", "replaced")]
    assert stage.events[-2].detail == {"by": a_send(3).notification_id}
    assert stage.story(2) == stage.story(3) == [("held", "quiet_hours")]


def test_a_send_that_began_is_not_replaced() -> None:
    stage = sms()
    stage.take(a_send(1, collapse_key="k"))
    stage.answer("retry")
    stage.take(a_send(2, collapse_key="k"))

    assert [status for status, _ in stage.story(1)] == ["sending", "retrying"]


def test_an_older_send_that_comes_later_replaces_nothing() -> None:
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send(2, collapse_key="k"))
    stage.take(a_send(1, collapse_key="k"))

    assert stage.story(2) == [("held", "quiet_hours")]
