"""Fallback: one channel after the other, each with its wait, until one reached the user."""

import pytest

from app.domain.fallback import Chain, ChainState, Move, reached, send_failed, step_failed, timed_out, waits
from schemas.words import Status

CHAIN = Chain(("push", "sms", "email"), 120, frozenset(("delivered", "opened")))
START = ChainState(CHAIN.steps)


def test_a_steps_wait_counts_from_when_it_was_queued_or_held() -> None:
    held = waits(START, CHAIN, 1000)
    assert held.due_ms == 1120
    assert waits(held, CHAIN, 1100, ("a",)).due_ms == 1120  # queued later: the wait goes on
    assert waits(START, CHAIN, 1100, ("a",)).due_ms == 1220


def test_the_next_step_begins_when_the_wait_is_over_and_cancels_what_is_not_sent() -> None:
    state = waits(START, CHAIN, 1000, ("a",))
    assert timed_out(state, 1119) == Move(state)
    assert timed_out(state, 1120) == Move(ChainState(CHAIN.steps, 1), begin=1, cancel=(0,))


def test_no_wait_runs_before_a_step_is_queued_or_held() -> None:
    assert timed_out(START, 10_000) == Move(START)


def test_the_next_step_begins_at_once_when_the_step_failed_or_was_suppressed() -> None:
    move = step_failed(START, 0)
    assert (move.begin, move.cancel) == (1, ())
    assert step_failed(move.state, 1).begin == 2


def test_on_push_a_step_has_failed_when_all_its_devices_have() -> None:
    state = waits(START, CHAIN, 1000, ("phone", "tablet"))
    first = send_failed(state, "phone")
    assert first.begin is None
    assert send_failed(first.state, "phone") == Move(first.state)
    assert send_failed(first.state, "tablet").begin == 1


def test_an_earlier_steps_late_failure_begins_nothing() -> None:
    second = timed_out(waits(START, CHAIN, 1000, ("a",)), 1120).state
    assert send_failed(second, "a") == Move(second)
    assert step_failed(second, 0) == Move(second)


def test_when_the_last_step_fails_the_chain_is_over() -> None:
    last = ChainState(CHAIN.steps, 2, 1000, ("a",))
    move = send_failed(last, "a")
    assert (move.begin, move.state.over) == (None, True)


def test_the_last_step_has_no_wait() -> None:
    last = waits(ChainState(CHAIN.steps, 2), CHAIN, 1000, ("a",))
    assert timed_out(last, 99_999) == Move(last)


@pytest.mark.parametrize(
    ("status", "ends"),
    [
        ("delivered", True),
        ("opened", True),
        ("clicked", True),  # implies opened
        ("read", True),
        ("seen", True),  # implies delivered
        ("sent", False),
        ("unknown", False),
        ("bounced", False),
        ("sending", False),
    ],
)
def test_a_state_of_until_ends_the_chain_and_cancels_what_is_not_sent_yet(status: Status, ends: bool) -> None:
    state = waits(ChainState(CHAIN.steps, 1), CHAIN, 1000, ("b",))
    move = reached(state, CHAIN, status)
    assert move.state.over is ends
    assert move.cancel == ((0, 1) if ends else ())
    assert move.begin is None


def test_nothing_happens_after_the_end() -> None:
    over = reached(waits(START, CHAIN, 1000, ("a",)), CHAIN, "opened").state
    assert timed_out(over, 99_999) == Move(over)
    assert send_failed(over, "a") == Move(over)
    assert step_failed(over, 0) == Move(over)
    assert reached(over, CHAIN, "opened") == Move(over)
    assert waits(over, CHAIN, 5000, ("c",)) == over


def test_a_chain_is_cut_down_to_the_channels_that_the_request_names() -> None:
    assert CHAIN.within(("email", "push")).steps == ("push", "email")
    assert CHAIN.within(("in_app",)).steps == ()
