"""An address that doesn't answer is left alone for a while, and costs the others nothing."""

from typing import Any

from agents.sender.dispatch import SLOW_MS
from app.domain.silence import FIRST_REST_MS, LONGEST_REST_MS, SILENT_CALLS
from tests.agents.dispatching import TIMEOUT_MS, FewSlots, answer_questions, called, let_pass, with_slots
from tests.agents.senders import sms
from tests.agents.stage import Stage, a_send


def silent(stage: Stage, call: Any) -> None:
    let_pass(stage, max(0, call.claimed_at + TIMEOUT_MS - stage.now))
    if call in stage.calls:
        stage.answer("in_doubt", call, doubt="timeout")
    answer_questions(stage)


def silence_u1(stage: Stage) -> int:
    """Has u1's address fall silent until it rests. Returns how many calls that took."""
    for number in range(1, 151):
        stage.take(a_send(number))
    calls = 0
    while stage.calls:
        silent(stage, stage.calls[0])
        calls += 1
    return calls


def test_an_address_that_never_answers_is_left_alone_after_a_few_calls() -> None:
    stage = sms()
    begun = stage.now

    assert silence_u1(stage) == SILENT_CALLS
    assert stage.now - begun < 30_000
    held = [event for event in stage.events if (event.status, event.reason) == ("held", "provider_outage")]
    assert [event.send_id for event in held] == [a_send(SILENT_CALLS + 1).send_id]
    assert [status for status, _ in stage.story(SILENT_CALLS + 2)] == []


def test_while_it_rests_its_neighbours_are_called_at_once() -> None:
    stage = with_slots(FewSlots(twilio=1_000))
    silence_u1(stage)
    stage.take(a_send(500, user_id="u2"))

    assert called(stage) == [500]


def test_an_address_that_answers_again_gets_all_that_waited() -> None:
    stage = sms()
    silence_u1(stage)
    let_pass(stage, FIRST_REST_MS)
    assert len(stage.calls) == 1  # the probe
    assert len(stage.answer_all()) == 150 - SILENT_CALLS


def test_a_silent_probe_doubles_the_rest_to_a_bound_and_those_behind_lose_no_attempt() -> None:
    stage = sms()
    silence_u1(stage)
    rests = []
    for _ in range(8):
        rested = stage.now
        while not stage.calls:
            let_pass(stage, 1_000)
        rests.append(stage.now - rested)
        silent(stage, stage.calls[0])

    assert rests[:3] == [FIRST_REST_MS, 2 * FIRST_REST_MS, 4 * FIRST_REST_MS]
    assert rests[-1] == LONGEST_REST_MS
    waiting = {a_send(number).send_id for number in range(100, 151)}
    assert not [event for event in stage.events if event.send_id in waiting and event.attempt]


def test_what_waits_for_a_silent_address_expires_in_its_time() -> None:
    stage = sms()
    silence_u1(stage)
    stage.take(a_send(200, expires_at=stage.now + 1_000))
    stage.wait(1_000)

    assert stage.story(200) == [("expired", None)]


def test_another_address_of_the_user_is_called_at_once() -> None:
    stage = sms()
    silence_u1(stage)
    stage.command("profile.set", phone="+442071838751", phone_verified=True)
    stage.wait(1)

    assert len(stage.calls) == 1
    assert stage.calls[0].to.value == "+442071838751"


def test_what_is_critical_is_tried_though_the_address_rests() -> None:
    stage = sms()
    silence_u1(stage)
    stage.take(a_send(200, priority="critical", category="security", event_type="login.otp"))

    assert called(stage) == [200]


def test_a_silent_call_says_nothing_where_a_later_one_was_answered() -> None:
    stage = sms()
    for number in range(1, 31):
        stage.take(a_send(number))
    for _ in range(SILENT_CALLS + 2):
        lost = stage.calls[0]
        stage.wait(SLOW_MS)
        stage.answer("ok", stage.calls[1])
        lost_only = [call for call in stage.calls if call is not lost]
        for call in lost_only:
            stage.answer("ok", call)
        stage.answer("in_doubt", lost, doubt="timeout")

    assert not [event for event in stage.events if event.status == "held"]
