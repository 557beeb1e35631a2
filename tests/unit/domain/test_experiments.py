"""Shares and differences with their intervals, and whether they are enough."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.experiments import baseline_of, difference, share

counts = st.integers(1, 10**7).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))


def test_a_share_has_wilsons_interval() -> None:
    """Newcombe 1998, Two-sided confidence intervals for the single proportion, table I, method 3: 81 of 263."""
    found = share(81, 263)

    assert [found.low, found.high] == pytest.approx([0.2553, 0.3662], abs=5e-5)


def test_a_difference_has_newcombes_interval() -> None:
    """Newcombe 1998, Interval estimation for the difference, table II (a), method 10: 56/70 less 48/80."""
    found = difference(share(56, 70), share(48, 80))

    assert found is not None
    assert [found.low, found.high] == pytest.approx([0.0524, 0.3339], abs=5e-5)
    assert (found.enough, found.needed) == (True, None)


@given(counts, counts)
def test_an_interval_holds_the_value_and_turns_around_with_its_groups(
    one: tuple[int, int], two: tuple[int, int]
) -> None:
    a, b = share(*one), share(*two)
    assert a.low is not None
    assert a.value is not None
    assert a.high is not None
    assert 0 <= a.low <= a.value <= a.high <= 1
    forth, back = difference(a, b), difference(b, a)
    assert forth is not None
    assert back is not None
    assert forth.low - 1e-12 <= forth.value <= forth.high + 1e-12
    assert forth.low == pytest.approx(-back.high, abs=1e-9)
    assert forth.enough == back.enough


def test_what_could_be_luck_is_not_enough_and_says_how_many_would_be() -> None:
    found = difference(share(110, 1000), share(100, 1000))

    assert found is not None
    assert not found.enough
    assert found.needed is not None
    # (Fleiss: 14,752 in each group for 10 against 11 %, two-sided 5 %, power 80 %)
    assert found.needed == pytest.approx(14_750, rel=0.01)
    more = difference(share(11 * found.needed // 100, found.needed), share(found.needed // 10, found.needed))
    assert more is not None
    assert more.enough


def test_of_many_variants_each_must_differ_more() -> None:
    one, baseline = share(260, 2000), share(215, 2000)
    alone, one_of_many = difference(one, baseline), difference(one, baseline, comparisons=20)

    assert alone is not None
    assert one_of_many is not None
    assert (alone.low, alone.enough) == (one_of_many.low, True)
    assert not one_of_many.enough


def test_where_nothing_was_sent_there_is_nothing_to_compare() -> None:
    nothing = share(0, 0)

    assert (nothing.value, nothing.low, nothing.high) == (None, None, None)
    assert difference(nothing, share(1, 2)) is None
    assert difference(share(1, 2), nothing) is None


def test_equal_shares_need_no_number() -> None:
    found = difference(share(0, 50), share(0, 50))

    assert found is not None
    assert (found.enough, found.needed) == (False, None)


@pytest.mark.parametrize(
    ("variants", "named", "baseline"),
    [(["b", "a"], None, "a"), (["b", "control", "a"], None, "control"), (["b", "a"], "b", "b"), ([None], None, None)],
)
def test_the_baseline_is_named_or_control_or_the_first(
    variants: Sequence[str | None], named: str | None, baseline: str | None
) -> None:
    assert baseline_of(variants, named) == baseline


def test_a_baseline_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="c isn't among the variants: a, b"):
        baseline_of(["b", "a"], "c")
