"""Sends whose call nobody answered: evidence moves them, never a blind second call."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from agents.sender.calls import Result
from app.domain.outcome import Outcome, OutcomeKind
from schemas.sends import Withdraw
from schemas.topics import RESULTS
from schemas.words import Provider
from tests.agents.senders import sms
from tests.agents.stage import DAY, HOUR, MINUTE, NOON, Stage, a_send

OTP: dict[str, Any] = {"event_type": "login.otp", "category": "security", "priority": "critical"}


def in_doubt(providers: Sequence[Provider] = ("twilio",), **changes: Any) -> Stage:
    stage = sms(providers)
    stage.take(a_send(**changes))
    stage.answer("in_doubt", doubt="timeout")
    return stage


def ask_in_vain(stage: Stage) -> list[int]:
    """Lets every question find nothing until a send is made or the send has ended; the seconds of the questions."""
    began, asked = stage.now, []
    stage.wait_for_call()
    while stage.calls and stage.calls[0].purpose == "ask":
        asked.append((stage.now - began) // 1000)
        stage.answer(None)
        stage.wait_for_call()
    return asked


@pytest.mark.parametrize("doubt", ["timeout", "connection_lost"])
def test_a_lost_answer_puts_the_send_in_doubt(doubt: str) -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer("in_doubt", doubt=doubt)

    assert stage.story() == [("sending", None), ("in_doubt", doubt)]
    assert stage.reported() == [("in_doubt", None)]
    assert stage.calls == []


def test_a_crash_during_the_call_puts_the_send_in_doubt_once_no_answer_can_come() -> None:
    stage = sms()
    stage.take(a_send())
    stage.crash()
    stage.wait(20_000)
    before = stage.story()
    stage.wait(MINUTE)

    assert before == [("sending", None)]
    assert stage.story() == [("sending", None), ("in_doubt", "crash")]


def test_a_crash_before_the_call_began_may_not_be_taken_for_a_call_that_failed() -> None:
    stage = sms()
    stage.take(a_send())
    stage.crash()
    stage.wait(DAY)

    assert stage.story()[-1] == ("unknown", None)
    assert {call.purpose for call in stage.calls} == {"ask"}


def test_the_provider_is_asked_at_growing_gaps_for_at_most_the_policys_time() -> None:
    stage = in_doubt()

    assert ask_in_vain(stage) == [5, 15, 35, 75, 155, 300]
    assert stage.story()[-1] == ("unknown", None)
    assert stage.reported()[-1] == ("unknown", None)


def test_a_send_that_is_found_has_been_sent() -> None:
    stage = in_doubt()
    stage.wait_for_call()
    stage.answer("ok", provider_message_id="SM1")

    assert stage.story() == [("sending", None), ("in_doubt", "timeout"), ("sent", None)]
    assert stage.events[-1].provider_message_id == "SM1"
    assert stage.events[-1].attempt == 1


def test_the_question_names_the_send_and_shows_what_was_sent_and_when() -> None:
    stage = in_doubt()
    sent_at = stage.now
    stage.wait_for_call()
    question = stage.calls[0]

    assert question.purpose == "ask"
    assert question.provider == "twilio"
    assert question.message.body == "Hello Ada"
    assert question.handle.attempt == 1
    assert question.handle.first_called_at_ms == sent_at


@pytest.mark.parametrize("status", ["delivered", "opened", "bounced", "failed"])
def test_whatever_comes_back_of_a_send_in_doubt_proves_it(status: str) -> None:
    stage = in_doubt()
    stage.receipt(send_id=a_send().send_id, status=status, provider_message_id="SM1")

    assert stage.story()[-1] == ("sent", None)
    assert stage.events[-1].provider_message_id == "SM1"
    assert stage.rows_of("schedule") == {}


def test_a_receipt_during_the_call_decides_it_if_the_answer_is_lost() -> None:
    stage = sms()
    stage.take(a_send())
    stage.receipt(send_id=a_send().send_id, status="delivered")
    stage.answer("in_doubt", doubt="timeout")

    assert stage.story() == [("sending", None), ("sent", None)]


@pytest.mark.parametrize("kind", ["retry", "throttle", "drop"])
def test_a_receipt_during_the_call_outweighs_a_refusal(kind: OutcomeKind) -> None:
    stage = sms()
    stage.take(a_send())
    stage.receipt(send_id=a_send().send_id, status="delivered", provider_message_id="SM1")
    stage.answer(kind)

    assert stage.story() == [("sending", None), ("sent", None)]
    assert stage.events[-1].provider_message_id == "SM1"


def test_a_receipt_before_a_crash_is_remembered() -> None:
    stage = sms()
    stage.take(a_send())
    stage.receipt(send_id=a_send().send_id, status="delivered")
    stage.crash()
    stage.wait(MINUTE)

    assert stage.story() == [("sending", None), ("sent", None)]


def test_a_receipt_of_an_unknown_or_ended_send_changes_nothing() -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer("ok")
    stage.receipt(send_id=a_send(1).send_id, status="delivered")
    stage.receipt(send_id=a_send(2).send_id, status="delivered")

    assert stage.story() == [("sending", None), ("sent", None)]


def test_another_users_receipt_proves_nothing() -> None:
    stage = in_doubt()
    stage.receipt(send_id=a_send().send_id, user_id="u2", status="delivered")

    assert stage.story()[-1] == ("in_doubt", "timeout")


def test_a_result_of_the_roles_own_proves_that_it_was_sent() -> None:
    """A process that lost the partition without knowing had the answer."""
    stage = in_doubt()
    result = {"id": "r", "at": NOON, "status": "sent", "user_id": "u1", "notification_id": a_send().notification_id}
    stage.read(RESULTS, msgspec.json.encode({**result, "send_id": a_send().send_id, "channel": "sms"}))

    assert stage.story()[-1] == ("sent", None)


# --- once more


def test_a_category_that_resends_sends_once_more_by_the_same_name_as_next_attempt() -> None:
    stage = in_doubt(**OTP)
    ask_in_vain(stage)
    again = stage.calls[0]

    assert again.purpose == "send"
    assert again.handle.send_id == a_send().send_id
    assert again.handle.attempt == 2
    stage.answer("ok")
    assert stage.story() == [("sending", None), ("in_doubt", "timeout"), ("sending", None), ("sent", None)]
    assert [e.attempt for e in stage.events] == [1, 1, 2, 2]


def test_a_short_lived_send_is_sent_again_while_it_is_of_use() -> None:
    stage = in_doubt(**OTP, expires_at=NOON + 5 * MINUTE)
    ask_in_vain(stage)

    assert stage.calls[0].purpose == "send"
    assert stage.now < NOON + 5 * MINUTE


def test_it_is_sent_only_once_more() -> None:
    stage = in_doubt(**OTP)
    ask_in_vain(stage)
    stage.answer("in_doubt", doubt="timeout")
    ask_in_vain(stage)

    assert [s for s, _ in stage.story()] == ["sending", "in_doubt", "sending", "in_doubt", "unknown"]


def test_sns_never_sends_again() -> None:
    stage = in_doubt(("sns",), **OTP)
    ask_in_vain(stage)

    assert stage.story()[-1] == ("unknown", None)


def test_what_may_have_arrived_does_not_move_to_another_provider() -> None:
    stage = in_doubt(("twilio", "sns"), **OTP)
    ask_in_vain(stage)
    stage.answer("retry", code="503")
    stage.wait_for_call()

    assert stage.calls[0].provider == "twilio"


def test_a_provider_that_could_not_be_asked_has_not_said_no() -> None:
    stage = in_doubt(**OTP)
    stage.wait_for_call()
    while stage.calls:
        assert stage.calls[0].purpose == "ask"
        stage.answer("in_doubt", doubt="connection_lost")
        stage.wait_for_call()

    assert stage.story()[-1] == ("unknown", None)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("notification.cancel", {"notification_id": a_send().notification_id}),
        ("profile.set", {"phone": None}),
        ("suppression.add", {"channel": "sms", "address": "+442071838750"}),
    ],
)
def test_it_is_not_sent_again_when_something_speaks_against_it(kind: str, fields: dict[str, Any]) -> None:
    stage = in_doubt(**OTP)
    stage.command(kind, **fields)
    ask_in_vain(stage)

    assert stage.story()[-1] == ("unknown", None)


def test_what_the_router_took_back_is_not_sent_again() -> None:
    stage = in_doubt(**OTP)
    stage.take(Withdraw(send_id=a_send().send_id, user_id="u1", status="cancelled"))
    ask_in_vain(stage)

    assert stage.story()[-1] == ("unknown", None)


def test_what_may_have_arrived_is_not_called_cancelled() -> None:
    stage = in_doubt(**OTP)
    ask_in_vain(stage)
    stage.answer("retry")
    stage.take(Withdraw(send_id=a_send().send_id, user_id="u1", status="cancelled"))

    assert stage.story()[-1] == ("unknown", None)


def test_nobody_asks_after_the_sends_of_an_erased_user() -> None:
    stage = in_doubt()
    stage.command("user.erase")
    stage.wait(MINUTE)

    assert stage.calls == []
    assert stage.story()[-1] == ("unknown", None)
    assert stage.rows_of("schedule") == {}


def test_once_it_may_have_arrived_nothing_but_sent_or_a_plain_no_is_said() -> None:
    stage = in_doubt(**OTP)
    ask_in_vain(stage)
    for _ in range(2):
        stage.answer("retry")
        stage.wait_for_call()

    assert stage.story()[-1] == ("unknown", None)


# --- questions and answers that come late


def test_a_question_that_a_crash_cut_off_is_asked_again_later() -> None:
    stage = in_doubt()
    stage.wait_for_call()
    stage.crash()
    stage.wait_for_call()

    assert stage.calls[0].purpose == "ask"
    assert stage.story()[-1] == ("in_doubt", "timeout")


@pytest.mark.parametrize(("kind", "end"), [("ok", "sent"), ("drop", "failed"), ("retry", "retrying")])
def test_a_late_answer_settles_the_doubt_of_its_own_call(kind: OutcomeKind, end: str) -> None:
    stage = sms()
    stage.take(a_send())
    call = stage.calls[0]
    stage.crash()
    stage.wait(MINUTE)
    stage.settle(Result(call, Outcome(kind)))

    assert [s for s, _ in stage.story()][-2:] == ["in_doubt", end]


def test_an_answer_that_was_lost_after_all_adds_nothing() -> None:
    stage = sms()
    stage.take(a_send())
    call = stage.calls[0]
    stage.crash()
    stage.wait(MINUTE)
    stage.settle(Result(call, Outcome("in_doubt", doubt="timeout")))

    assert stage.story() == [("sending", None), ("in_doubt", "crash")]


def test_a_call_that_was_never_made_is_made_after_all() -> None:
    stage = sms()
    stage.take(a_send())
    call = stage.calls[0]
    stage.crash()
    stage.wait(MINUTE)
    stage.calls.clear()
    stage.settle(Result(call, None))

    assert [c.purpose for c in stage.calls] == ["send"]
    assert stage.calls[0].handle.attempt == 1


def test_a_late_yes_to_the_first_call_ends_the_send_during_the_second() -> None:
    stage = sms()
    stage.take(a_send(**OTP))
    first = stage.calls[0]
    stage.crash()
    stage.wait(21_000)
    ask_in_vain(stage)
    second = stage.calls[0]
    stage.settle(Result(first, Outcome("ok", provider_message_id="SM1")))
    stage.settle(Result(second, Outcome("ok", provider_message_id="SM2")))

    assert stage.story()[-1] == ("sent", None)
    assert [e.provider_message_id for e in stage.events if e.status == "sent"] == ["SM1"]


def test_a_late_no_to_the_first_call_does_not_settle_the_second() -> None:
    stage = sms()
    stage.take(a_send(**OTP))
    first = stage.calls[0]
    stage.crash()
    stage.wait(21_000)
    ask_in_vain(stage)
    stage.settle(Result(first, Outcome("drop")))

    assert stage.story()[-1] == ("sending", None)
    assert stage.calls[0].handle.attempt == 2


def test_what_would_be_sent_again_in_the_night_waits_for_its_end() -> None:
    stage = sms()
    stage.now = NOON + 10 * HOUR - 1_000
    stage.take(a_send(category="security"))
    stage.answer("in_doubt", doubt="timeout")
    ask_in_vain(stage)

    assert [s for s, _ in stage.story()] == ["sending", "in_doubt", "held", "sending"]
    assert [e.attempt for e in stage.events] == [1, 1, 1, 2]
    assert stage.now == NOON + 20 * HOUR


def test_a_night_does_not_hide_a_doubt() -> None:
    stage = sms()
    stage.now = NOON + 10 * HOUR - 1_000
    stage.take(a_send())
    stage.answer("in_doubt", doubt="timeout")
    ask_in_vain(stage)

    assert stage.story()[-1] == ("unknown", None)


SECRET = msgspec.Raw(b'{"who":"a secret of theirs"}')


def holds_content(stage: Stage) -> bool:
    rows = (value for table in stage.rows.tables.values() for value in table.values())
    return any(b"a secret of theirs" in value for value in rows)


@pytest.mark.parametrize("count", [1, 250])
def test_an_erasure_ends_what_is_in_doubt_at_once_and_keeps_nothing_of_its_content(count: int) -> None:
    stage = sms()
    for number in range(1, count + 1):
        stage.take(a_send(number, data=SECRET))
        stage.answer("in_doubt", doubt="connection_lost")
    assert holds_content(stage)
    stage.command("user.erase")
    stage.wait(0)

    assert all(stage.story(number)[-1] == ("unknown", None) for number in range(1, count + 1))
    assert not holds_content(stage)
    assert not stage.rows_of("pauses")
    assert not stage.calls


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        ({"kind": "in_doubt", "doubt": "timeout"}, ("unknown", None)),
        ({"kind": "retry", "code": "500"}, ("suppressed", "erased")),
        ({"kind": "throttle", "retry_after_ms": HOUR}, ("suppressed", "erased")),
        ({"kind": "ok"}, ("sent", None)),
        ({"kind": "drop", "code": "21610"}, ("failed", "permanent")),
    ],
)
def test_a_call_that_is_under_way_at_an_erasure_is_the_sends_last(
    answer: dict[str, Any], end: tuple[str, str | None]
) -> None:
    stage = sms()
    stage.take(a_send(data=SECRET))
    stage.command("user.erase")
    stage.answer(**answer)

    assert stage.story()[-1] == end
    assert not holds_content(stage)


def test_a_call_that_a_crash_leaves_behind_at_an_erasure_ends_at_its_deadline() -> None:
    stage = sms()
    stage.take(a_send(data=SECRET))
    stage.command("user.erase")
    stage.crash()
    stage.wait(MINUTE)

    assert stage.story()[-1] == ("unknown", None)
    assert not holds_content(stage)
