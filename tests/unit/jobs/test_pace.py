"""A replay keeps its pace, whoever looks how often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.policy import Rate
from app.jobs.pace import Pace, default_rate, parse_rate, show_rate


@pytest.mark.parametrize("text", ["200/s", "1/s", "30/m", "7/h", "1/d"])
def test_a_rate_is_shown_as_it_was_written(text: str) -> None:
    assert show_rate(*parse_rate(text)) == text


@pytest.mark.parametrize(
    ("limits", "shown"),
    [
        ([], "50/s"),
        ([Rate(200, 1000)], "20/s"),
        ([Rate(200, 1000), Rate(60, 60_000)], "6/m"),
        ([Rate(5, 1000)], "30/m"),
        ([Rate(1, 60_000)], "6/h"),
    ],
)
def test_by_default_it_is_a_tenth_of_the_lowest_limit(limits: list[Rate], shown: str) -> None:
    assert show_rate(*default_rate(limits)) == shown


@given(
    st.integers(1, 500),
    st.sampled_from([1000, 60_000]),
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 1000)), min_size=1, max_size=50),
)
def test_no_more_go_than_the_pace_allows_however_it_is_asked(
    rate: int, per_ms: int, looks: list[tuple[float, int]]
) -> None:
    pace, now, gone = Pace(rate, per_ms, 0.0), 0.0, 0
    for later, most in looks:
        now += later
        taken = pace.take(now, most)
        assert 0 <= taken <= most
        gone += taken
        assert gone <= now * rate * 1000 / per_ms + 1e-6


def test_what_is_asked_for_often_enough_goes_at_its_pace() -> None:
    pace = Pace(50, 1000, 0.0)

    assert sum(pace.take(tick / 100, 1000) for tick in range(1, 1001)) in (499, 500)


def test_after_a_pause_it_does_not_catch_up() -> None:
    pace = Pace(50, 1000, 0.0)

    assert pace.take(3600.0, 1000) == 10
    assert pace.take(3600.0, 1000) == 0


@pytest.mark.parametrize("rate", [1, 3, 50, 1000])
def test_whoever_waits_as_long_as_it_says_may_go(rate: int) -> None:
    pace, now = Pace(rate, 1000, 0.0), 0.0
    for _ in range(20):
        now += pace.wait_s + 1e-9
        assert pace.take(now, 1) == 1
