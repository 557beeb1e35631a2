"""What is found by its text alone may be another send's: then it is no evidence."""

import itertools
from typing import Any

import pytest

from agents.sender.calls import Call
from tests.agents.senders import sms
from tests.agents.stage import MINUTE, Stage, a_send

#: A category that is given up, and one that is sent once more, where nothing is found.
GIVEN_UP, RESENT = {"category": "orders"}, {"category": "security", "event_type": "login.otp", "priority": "normal"}


class Twilio:
    """Took some calls, and lists what it took by text alone."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.took: list[tuple[str, str, str]] = []
        self._numbers = itertools.count(1)

    def take(self, call: Call) -> str:
        name = f"SM{next(self._numbers)}"
        self.took.append((name, call.message.body or "", call.handle.send_id))
        return name

    def lose(self, call: Call, *, arrived: bool) -> None:
        if arrived:
            self.take(call)
        self.stage.answer("in_doubt", call, doubt="connection_lost")

    def answer_questions(self) -> None:
        for call in [call for call in self.stage.calls if call.purpose == "ask"]:
            found = tuple(name for name, body, _ in reversed(self.took) if body == call.message.body)
            reported: dict[str, Any] = {"provider_message_id": found[0], "found": found} if found else {}
            self.stage.answer("ok" if found else None, call, **reported)

    def let_pass(self, ms: int) -> None:
        end = self.stage.now + ms
        while self.stage.now < end:
            due = self.stage.next_due()
            self.stage.wait(max(0, min(end, end if due is None else due) - self.stage.now))
            self.answer_questions()

    def arrived(self, number: int) -> bool:
        return any(name == a_send(number).send_id for _, _, name in self.took)


def test_the_message_of_an_equal_text_that_was_sent_before_is_no_evidence() -> None:
    stage = sms()
    twilio = Twilio(stage)
    stage.take(a_send(1))
    stage.answer("ok", provider_message_id=twilio.take(stage.calls[0]))
    stage.take(a_send(2))
    twilio.lose(stage.calls[0], arrived=False)
    twilio.let_pass(10 * MINUTE)

    assert stage.story(2)[-1] == ("unknown", None)


def test_a_lone_message_of_that_text_is_the_sends() -> None:
    stage = sms()
    twilio = Twilio(stage)
    stage.take(a_send(1))
    twilio.lose(stage.calls[0], arrived=True)
    twilio.let_pass(10 * MINUTE)

    assert stage.story(1)[-1] == ("sent", None)
    assert stage.events[-1].provider_message_id == "SM1"


@pytest.mark.parametrize("arrived", [(False, True), (True, False), (False, False), (True, True)])
@pytest.mark.parametrize("changes", [GIVEN_UP, RESENT])
def test_of_two_equal_ones_in_doubt_none_is_taken_for_sent_that_may_not_be(
    arrived: tuple[bool, bool], changes: dict[str, str]
) -> None:
    stage = sms()
    twilio = Twilio(stage)
    for number, did in zip((1, 2), arrived, strict=True):
        stage.take(a_send(number, **changes))
        twilio.lose(next(call for call in stage.calls if call.purpose == "send"), arrived=did)
    for _ in range(20):
        twilio.let_pass(MINUTE)
        for call in [call for call in stage.calls if call.purpose == "send"]:
            stage.answer("ok", call, provider_message_id=twilio.take(call))

    for number in (1, 2):
        end = stage.story(number)[-1][0]
        assert end in ("sent", "unknown")
        assert twilio.arrived(number) or end != "sent"
    if all(arrived):
        assert [stage.story(number)[-1][0] for number in (1, 2)] == ["sent", "sent"]
    assert stage.rows_of("pauses") == {}


def test_others_in_doubt_that_say_something_else_are_no_rivals() -> None:
    stage = sms()
    twilio = Twilio(stage)
    for number in (1, 2):
        stage.take(a_send(number, template_id=None, content={"title": "t", "body": f"number {number}"}))
        twilio.lose(next(call for call in stage.calls if call.purpose == "send"), arrived=number == 1)
    twilio.let_pass(10 * MINUTE)

    assert [stage.story(number)[-1][0] for number in (1, 2)] == ["sent", "unknown"]
