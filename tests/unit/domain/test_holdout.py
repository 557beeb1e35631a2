"""Holdouts: who is in one is a function of user and group, and about so many are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.holdout import (
    ALL,
    HOLDOUT,
    group_of,
    holdout_of,
    is_held_out,
    percent,
    share_of,
    signed_holdout,
)

SECRET = b"a secret"
SHARES = st.integers(0, ALL)


@given(SHARES)
def test_a_share_reads_back_as_it_was_written(share: int) -> None:
    assert share_of(percent(share)) == share


@pytest.mark.parametrize(("text", "share"), [("5%", 500), ("0.25%", 25), ("100%", ALL), ("0%", 0), ("12.5%", 1250)])
def test_a_share_is_written_in_percent(text: str, share: int) -> None:
    assert share_of(text) == share


@pytest.mark.parametrize("text", ["5", "", "%", "101%", "-1%", "1.001%", "५%", "5 %", "100.01%", "1.%x", "nan%"])
def test_what_is_no_part_in_percent_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no part in percent"):
        share_of(text)


@pytest.mark.parametrize("share", [1, 100, 500, 2500, 5000, 9000])
def test_about_so_many_of_a_groups_recipients_are_held_out(share: int) -> None:
    users = 20_000
    held_out = sum(is_held_out(f"user-{n}", ("category", "marketing"), share) for n in range(users))
    expected = users * share / ALL
    assert abs(held_out - expected) <= 5 * (expected * (1 - share / ALL)) ** 0.5 + 1


@given(st.text(max_size=20), SHARES, SHARES)
def test_a_greater_share_holds_out_all_that_a_smaller_one_does(user: str, one: int, other: int) -> None:
    group = ("category", "marketing")
    if is_held_out(user, group, min(one, other)):
        assert is_held_out(user, group, max(one, other))


@given(st.text(max_size=20))
def test_nobody_is_held_out_of_nothing_and_everybody_of_all(user: str) -> None:
    assert not is_held_out(user, ("category", "a"), 0)
    assert is_held_out(user, ("category", "a"), ALL)


def test_two_groups_hold_out_different_users() -> None:
    users = [f"user-{n}" for n in range(5_000)]
    groups = [group_of("ads", "shop", "a"), group_of("ads", "shop", "b"), group_of("ads", "app", "a"), ("x", "ads")]
    held_out = [{user for user in users if is_held_out(user, group, 5_000)} for group in groups]
    for number, one in enumerate(held_out):
        for other in held_out[number + 1 :]:
            assert 0.4 < len(one & other) / len(one) < 0.6


def test_a_campaigns_share_is_read_from_its_header_and_from_no_other() -> None:
    signed = signed_holdout(SECRET, "shop", "spring", 500)
    assert holdout_of(SECRET, "shop", "spring", [(HOLDOUT, signed)]) == 500
    digits, _, signature = signed.partition(b":")
    assert digits == b"500"
    others: list[tuple[str, str | None, list[tuple[str, bytes | None]]]] = [
        ("app", "spring", [(HOLDOUT, signed)]),
        ("shop", "summer", [(HOLDOUT, signed)]),
        ("shop", None, [(HOLDOUT, signed)]),
        ("shop", "spring", [(HOLDOUT, b"10000:" + signature)]),
        ("shop", "spring", [(HOLDOUT, signed), (HOLDOUT, signed)]),
        ("shop", "spring", [(HOLDOUT, None)]),
        ("shop", "spring", [(HOLDOUT, b"\xff:\xff")]),
        ("shop", "spring", [("other", signed)]),
        ("shop", "spring", []),
    ]
    for source, campaign, headers in others:
        assert holdout_of(SECRET, source, campaign, headers) is None
    assert holdout_of(b"another secret", "shop", "spring", [(HOLDOUT, signed)]) is None
