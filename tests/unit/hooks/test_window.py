"""What a hook has in hand: in order for each user, bounded, and nothing forgotten."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.hooks.window import CALLS, MOST_BYTES, MOST_EVENTS, Delivery, Window
from app.domain.hooks import RETRIED_MS, Answer, CallOutcome
from schemas.hooks import PendingCall

T0 = 1_780_000_000_000
OK, FAILED = Answer("ok"), Answer("failed", "it answered 500")


def a_delivery(offset: int, user: str = "ann", partition: int = 0, body: bytes = b"{}") -> Delivery:
    return Delivery(partition, offset, user, f"e{partition}-{offset}", body)


def window_of(*users: str) -> Window:
    window = Window()
    for offset, user in enumerate(users):
        window.add(a_delivery(offset, user), T0)
    return window


def begun(window: Window, now: int = T0) -> list[Delivery]:
    found = []
    while (delivery := window.begin(now)) is not None:
        found.append(delivery)
    return found


def test_one_user_is_called_for_one_after_the_other_and_others_beside() -> None:
    window = window_of("ann", "ann", "bob", "ann")

    first = begun(window)
    assert [d.offset for d in first] == [0, 2]
    window.end(first[1], OK, T0)
    assert begun(window) == []
    window.end(first[0], OK, T0)
    [second] = begun(window)
    assert second.offset == 1


def test_what_fails_holds_up_its_user_alone() -> None:
    window = window_of("ann", "ann", "bob")
    ann, bob = begun(window)
    window.end(ann, FAILED, T0)
    window.end(bob, OK, T0)

    assert begun(window) == []
    due = window.next_due()
    assert due is not None
    assert [d.offset for d in begun(window, due)] == [0]


def test_what_fails_for_24_hours_is_given_up_and_the_next_follows() -> None:
    window = window_of("ann", "ann")
    [delivery] = begun(window)
    assert window.end(delivery, FAILED, T0) == "retried"
    [delivery] = begun(window, T0 + RETRIED_MS)
    assert window.end(delivery, FAILED, T0 + RETRIED_MS) == "given_up"

    assert [d.offset for d in begun(window, T0 + RETRIED_MS)] == [1]


def test_a_receiver_that_fails_is_called_once_at_a_time_until_it_answers() -> None:
    window = window_of(*(f"u{n}" for n in range(40)))
    first = begun(window)
    assert len(first) == CALLS
    for delivery in first:
        window.end(delivery, FAILED, T0)
    [probe] = begun(window)
    window.end(probe, OK, T0 + 1)

    again = begun(window, T0 + 1)
    assert len(again) == CALLS


def test_whoever_waits_for_another_try_is_called_when_the_receiver_is_back() -> None:
    window = window_of(*(f"u{n}" for n in range(6)))
    for delivery in begun(window):
        window.end(delivery, FAILED, T0)
    later = window.next_due()
    assert later is not None
    [probe] = begun(window, later)
    window.end(probe, OK, later)

    assert len(begun(window, later)) == 5


def test_a_hook_holds_no_more_than_it_may() -> None:
    window = window_of(*(f"u{n}" for n in range(MOST_EVENTS)))
    assert window.room == 0

    window = Window()
    window.add(a_delivery(0, body=b"x" * MOST_BYTES), T0)
    assert window.room == 0
    [delivery] = begun(window)
    window.end(delivery, OK, T0)
    assert window.room == MOST_EVENTS


def test_a_position_names_what_is_pending_with_its_time() -> None:
    window = window_of("ann", "bob", "ann")
    ann, bob = begun(window)
    window.end(bob, OK, T0)
    window.end(ann, FAILED, T0 + 7)

    position = window.position(0, 3)
    assert position.next == 3
    assert position.pending == [PendingCall(0, 1, T0), PendingCall(2, 0, None)]
    assert position.failing_since == T0 + 7
    assert window.position(1, 5).pending == []


def test_what_is_enabled_again_has_its_whole_time() -> None:
    window = window_of("ann")
    [delivery] = begun(window)
    window.end(delivery, FAILED, T0)
    window.begin_anew()

    assert window.position(0, 1).pending == [PendingCall(0, 0, None)]
    assert window.position(0, 1).failing_since is None


#: What happens next: an event of a user, or the end of a call with an outcome, or time.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("event"), st.sampled_from(["ann", "bob", "eve"]), st.integers(0, 2)),
        st.tuples(st.just("end"), st.sampled_from(["ok", "failed", "refused"]), st.integers(0, 9)),
        st.tuples(st.just("time"), st.just(""), st.integers(1, 4_000_000)),
    ),
    max_size=80,
)


@given(STEPS)
def test_every_event_is_called_for_in_its_users_order_or_is_pending(steps: list[tuple[str, str, int]]) -> None:
    """Whenever a process is killed: what the position passes over was over."""
    window, now, offsets = Window(), T0, [0, 0, 0]
    added: dict[tuple[int, int], str] = {}
    over: list[Delivery] = []
    flying: list[Delivery] = []

    def check() -> None:
        for partition in range(3):
            position = window.position(partition, offsets[partition])
            pending = {(partition, each.offset) for each in position.pending}
            done = {(d.partition, d.offset) for d in over}
            assert {at for at in added if at[0] == partition} == pending | {at for at in done if at[0] == partition}
            assert not pending & done

    for kind, what, number in steps:
        if kind == "event":
            window.add(a_delivery(offsets[number], f"{what}{number}", number), now)
            added[number, offsets[number]] = f"{what}{number}"
            offsets[number] += 1
        elif kind == "time":
            now += number
        elif flying:
            delivery = flying.pop(number % len(flying))
            outcome: CallOutcome = what  # type: ignore[assignment]
            if window.end(delivery, Answer(outcome), now) != "retried":
                over.append(delivery)
        flying += begun(window, now)
        assert len({d.user_id for d in flying}) == len(flying) <= CALLS
        check()

    _drain(window, flying, over, lambda: now)
    assert sorted((d.partition, d.offset) for d in over) == sorted(added)
    for user in set(added.values()):
        mine = [d.offset for d in over if d.user_id == user]
        assert mine == sorted(mine)


def _drain(window: Window, flying: list[Delivery], over: list[Delivery], clock: Callable[[], int]) -> None:
    now = clock()
    while window.waiting:
        for delivery in flying:
            window.end(delivery, OK, now)
            over.append(delivery)
        flying = begun(window, now)
        if not flying and (due := window.next_due()) is not None:
            now = max(now, due)


@pytest.mark.parametrize("number", [1, 7])
def test_no_more_calls_than_the_hook_may_have(number: int) -> None:
    window = window_of(*(f"u{n}" for n in range(number * CALLS)))

    assert len(begun(window)) == CALLS
