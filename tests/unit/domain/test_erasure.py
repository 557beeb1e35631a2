"""The steps of an erasure fit into its time, however short that is."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.domain.erasure import ErasureSteps

WITHIN = st.integers(60, 86_400).map(lambda seconds: ErasureSteps(timedelta(seconds=seconds)))


@given(WITHIN)
def test_all_steps_together_leave_the_cleaner_a_third_of_the_time(steps: ErasureSteps) -> None:
    together = steps.gather + 2 * steps.roll + steps.settle + steps.linger

    assert together <= steps.within * 2 / 3 + timedelta(microseconds=10)


@given(WITHIN)
def test_an_owner_looks_for_late_rows_before_compaction_may_touch_them(steps: ErasureSteps) -> None:
    assert 2 * steps.look <= steps.settle


@given(WITHIN)
def test_a_store_that_missed_tombstones_is_gone_before_they_are(steps: ErasureSteps) -> None:
    assert steps.abandon <= timedelta(hours=12)
    assert steps.abandon < steps.within
