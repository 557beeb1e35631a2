"""What a provider answers: tried again, failed over, held, given up, told to the router."""

import pytest

from agents.sender.calls import Result
from app.domain.outcome import AT_CAPACITY, CIRCUIT_OPEN, Outcome, OutcomeKind
from app.domain.trail import words
from schemas.instants import rfc3339
from tests.agents.dispatching import FewSlots, with_slots
from tests.agents.senders import PHONE, a_push, push, sms
from tests.agents.stage import HOUR, MINUTE, NOON, a_send


def test_a_refusal_is_tried_again_after_a_wait_and_counts() -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer("retry", code="503")
    stage.wait_for_call()
    stage.answer("ok")

    assert stage.story() == [("sending", None), ("retrying", "503"), ("sending", None), ("sent", None)]
    assert [e.attempt for e in stage.events] == [1, 1, 2, 2]
    assert set(stage.events[1].detail or {}) == {"retry_at", "error", "trail"}
    assert stage.reported() == [("sent", None)]


@pytest.mark.parametrize(
    ("kind", "code", "answer"),
    [
        ("retry", "503", "retry"),
        ("throttle", "10", "throttle"),
        ("config", "TooManyProviderTokenUpdates", "config"),
        ("throttle", AT_CAPACITY, "not_called"),
    ],
)
def test_a_retry_tells_what_its_answer_was(kind: OutcomeKind, code: str, answer: str) -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer(kind, code=code)

    event = stage.events[1]
    assert (event.status, (event.detail or {})["trail"]) == ("retrying", [["answer", "wait", answer]])
    assert words(["answer", "wait", answer]).startswith("the provider")


def test_attempts_that_are_used_up_fail_the_send() -> None:
    stage = sms()
    stage.take(a_send())
    for _ in range(3):
        stage.answer("retry")
        stage.wait_for_call()

    assert stage.story()[-1] == ("failed", "retries_exhausted")
    assert stage.calls == []


def test_throttling_goes_on_until_the_expiry_and_burns_no_attempt() -> None:
    stage = sms()
    stage.take(a_send(expires_at=NOON + 10 * MINUTE))
    while stage.calls:
        stage.answer("throttle", code="429", retry_after_ms=30_000)
        stage.wait_for_call()

    assert stage.story()[-1] == ("expired", None)
    assert {e.attempt for e in stage.events if e.status == "sending"} == {1}
    assert stage.events[-1].occurred_at == rfc3339(NOON + 10 * MINUTE)


def test_wrong_settings_fail_over_to_the_next_provider() -> None:
    stage = sms(providers=("twilio", "vonage"))
    stage.take(a_send())
    stage.answer("config", code="20003")
    stage.wait(0)

    assert stage.story() == [("sending", None), ("retrying", "20003"), ("sending", None)]
    assert [e.provider for e in stage.events] == ["twilio", "twilio", "vonage"]
    assert {e.attempt for e in stage.events} == {1}


def test_a_resting_lane_holds_the_send_as_an_outage() -> None:
    slots = FewSlots(twilio=1)
    stage = with_slots(slots)
    stage.take(a_send())
    slots.free["twilio"] = None
    stage.answer("throttle", code=CIRCUIT_OPEN, retry_after_ms=5_000)
    held = stage.events[-1]
    slots.free["twilio"] = 1
    stage.wait_for_call()
    stage.answer("ok")

    assert (held.status, held.reason) == ("held", "provider_outage")
    assert set(held.detail or {}) == {"until"}
    assert stage.story()[2:] == [("sending", None), ("sent", None)]


def test_a_retry_that_falls_into_the_night_is_held() -> None:
    stage = sms()
    stage.now = NOON + 10 * HOUR - 1_000
    stage.take(a_send())
    stage.answer("retry")
    stage.wait_for_call()

    statuses = [status for status, _ in stage.story()]
    assert statuses == ["sending", "retrying", "held", "sending"]


def test_a_preference_given_while_a_send_waits_for_its_retry_ends_it_at_once() -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer("retry")
    stage.command("preferences.set", preferences={"channels": {"sms": False}})

    assert stage.story()[-1] == ("suppressed", "opted_out")
    assert stage.rows_of("schedule") == {}


def test_a_command_does_not_bring_a_retry_forward() -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer("retry")
    stage.command("profile.set", name="Ada")

    assert stage.calls == []


def test_a_dead_token_fails_the_send_and_tells_the_router_what_to_retire() -> None:
    stage = push()
    stage.take(a_push())
    stage.answer("bad_token", code="Unregistered", invalid_since_ms=NOON - 5)
    reported = stage.results[-1]

    assert stage.story()[-1] == ("failed", "invalid_token")
    assert stage.events[-1].detail == {"error": "Unregistered", "device_id": "d1"}
    assert reported.address is not None
    assert (reported.address.invalid_since, reported.address.called_at) == (NOON - 5, NOON)
    assert bytes.fromhex(reported.address.address_hash) == stage.state.knowledge.devices("u1")[0].token_hash


def test_a_number_that_said_stop_to_the_provider_is_told_to_the_router() -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer("drop", code="21610", why="opted_out")

    assert stage.story()[-1] == ("failed", "permanent")
    address = stage.results[-1].address
    assert address is not None
    assert address.opted_out


def test_no_address_is_in_any_event_or_result() -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer("bad_token", code="21211")

    assert PHONE not in repr(stage.events) + repr(stage.results)


def test_a_call_that_was_not_made_is_looked_at_again_with_the_same_attempt() -> None:
    stage = sms()
    stage.take(a_send())
    stage.now += 900
    stage.answer(None)
    stage.answer("ok")

    assert stage.story() == [("sending", None), ("sent", None)]
    assert {e.attempt for e in stage.events} == {1}


def test_a_call_that_was_not_made_is_not_made_after_an_opt_out() -> None:
    stage = sms()
    stage.take(a_send())
    stage.command("preferences.set", preferences={"channels": {"sms": False}})
    stage.answer(None)

    assert stage.story() == [("sending", None), ("suppressed", "opted_out")]
    assert stage.calls == []


def test_an_answer_that_comes_after_the_end_changes_nothing() -> None:
    stage = sms()
    stage.take(a_send())
    call = stage.calls[0]
    stage.answer("ok")
    stage.settle(Result(call, Outcome("retry")))

    assert stage.story() == [("sending", None), ("sent", None)]
