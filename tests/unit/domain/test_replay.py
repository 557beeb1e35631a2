"""Replay: what is left alone, in which order, and what the receipt calls an end."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.replay import ChainStands, Made, outcome_of, refusal
from schemas.replays import Begun, NotBegun
from schemas.words import ENDS

CANDIDATE = Made("failed", is_candidate=True)

#: A state of something else that was made of the notification, and what it has the candidate be, most urgent first.
STATES: list[tuple[str, dict[str, Any]]] = [
    ("replayed_before", {"made": Made("sent", replayed=True, is_later=True)}),
    ("already_sent", {"made": Made("sent")}),
    ("in_doubt", {"made": Made("", in_doubt=True)}),
    ("open", {"made": Made("")}),
]

SAME: list[tuple[str | None, dict[str, Any]]] = [
    ("replayed_before", {"made": Made("", replayed=True, is_later=True)}),
    ("replayed_before", {"made": Made("", in_doubt=True, replayed=True, is_later=True)}),
    ("replayed_before", {"made": Made("unknown", replayed=True, is_later=True)}),
    ("already_sent", {"made": Made("failed", came_back=True)}),
    ("already_sent", {"made": Made("expired", came_back=True, replayed=True, is_later=True)}),
    ("already_sent", {"chain": ChainStands(informed=True)}),
    ("already_sent", {"came_back": True}),
    ("in_doubt", {"chain": ChainStands(may_be=True)}),
    ("in_doubt", {"made": Made("unknown", is_later=True)}),
    ("open", {"chain": ChainStands(open=True)}),
    *((None, {"made": Made(end)}) for end in ("failed", "expired", "cancelled", "suppressed")),
    *((None, {"made": Made(end, replayed=True, is_later=True)}) for end in ("failed", "expired", "cancelled")),
    # An operator who names `unknown` knows of it; an earlier one was known of when the candidate was made.
    (None, {"made": Made("unknown")}),
]


def refused(*states: dict[str, Any], candidate: Made = CANDIDATE) -> str | None:
    made = [candidate, *(state["made"] for state in states if "made" in state)]
    chains = [state["chain"] for state in states if "chain" in state]
    chain = ChainStands(
        informed=any(each.informed for each in chains),
        may_be=any(each.may_be for each in chains),
        open=any(each.open for each in chains),
    )
    return refusal(made, chain, came_back=any("came_back" in state for state in states))


@pytest.mark.parametrize(("expected", "state"), [*STATES, *SAME])
def test_what_may_have_reached_the_user_or_may_yet_is_left_alone(expected: str | None, state: dict[str, Any]) -> None:
    assert refused(state) == expected


@pytest.mark.parametrize("first", range(len(STATES)))
@pytest.mark.parametrize("second", range(len(STATES)))
def test_of_several_reasons_the_first_of_the_receipt_counts(first: int, second: int) -> None:
    assert refused(STATES[first][1], STATES[second][1]) == STATES[min(first, second)][0]


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (Made("failed", is_candidate=True), None),
        (Made("unknown", is_candidate=True), None),
        (Made("expired", is_candidate=True, replayed=True), None),
        (Made("", is_candidate=True), "open"),
        (Made("", is_candidate=True, replayed=True), "open"),
        (Made("", in_doubt=True, is_candidate=True), "in_doubt"),
        (Made("sent", is_candidate=True), "already_sent"),
        (Made("failed", came_back=True, is_candidate=True), "already_sent"),
    ],
)
def test_the_candidate_itself_has_to_have_ended_unsent(candidate: Made, expected: str | None) -> None:
    assert refused(candidate=candidate) == expected


_made = st.builds(
    Made,
    st.sampled_from(("", *sorted(ENDS))),
    came_back=st.booleans(),
    in_doubt=st.booleans(),
    is_later=st.booleans(),
    replayed=st.booleans(),
)


@given(st.lists(_made, max_size=4), st.builds(ChainStands, st.booleans(), st.booleans(), st.booleans()))
def test_more_that_was_made_never_frees_what_was_left_alone(made: Sequence[Made], chain: ChainStands) -> None:
    order = get_args(NotBegun)
    fewer = refusal([CANDIDATE, *made[:-1]], chain)
    all_of_it = refusal([CANDIDATE, *made], chain)

    if fewer is not None:
        assert all_of_it is not None
        assert order.index(all_of_it) <= order.index(fewer)
    if all_of_it is None:
        assert all(each.end not in ("", "sent") and not each.came_back for each in made)


@given(_made)
def test_a_result_that_comes_late_only_makes_open_into_something_else(made: Made) -> None:
    """The router knows of an end later than the sender: until then the candidate is left alone."""
    if made.end:
        assert refusal([CANDIDATE, replace(made, end="")]) is not None


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("accepted", None, "waiting"),
        ("held", "quiet_hours", "waiting"),
        ("queued", None, "waiting"),
        ("suppressed", "opted_out", "opted_out"),
        ("suppressed", "no_consent", "opted_out"),
        ("suppressed", "erased", "erased"),
        ("suppressed", "replaced", "suppressed"),
        ("suppressed", "no_address", "suppressed"),
        ("sent", None, "sent"),
        ("failed", "retries_exhausted", "failed"),
        ("unknown", None, "unknown"),
        ("expired", None, "expired"),
        ("cancelled", None, "cancelled"),
    ],
)
def test_the_receipt_has_one_name_for_each_end(status: Any, reason: str | None, expected: str) -> None:
    assert outcome_of(status, reason) == expected
    assert expected in (*get_args(NotBegun), *get_args(Begun))
