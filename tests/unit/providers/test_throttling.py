"""How the rate of calls follows what a provider takes, in virtual time."""

from collections import deque
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.gate import Bucket
from app.providers.throttling import SLOWEST, Throttle

seconds = st.floats(0, 1_000, allow_nan=False)
ceilings = st.none() | st.floats(0.5, 10_000)


class Vendor:
    """Takes so many calls in any second, and answers 429 to the rest, ``latency_s`` later."""

    def __init__(self, per_second: int, latency_s: float = 0.1) -> None:
        self.per_second, self.latency_s = per_second, latency_s
        self.taken: deque[float] = deque()

    def takes(self, now: float) -> bool:
        while self.taken and self.taken[0] <= now - 1:
            self.taken.popleft()
        if len(self.taken) >= self.per_second:
            return False
        self.taken.append(now)
        return True


def run(throttle: Throttle, vendor: Vendor, wanted: int, begin: int, end: int) -> tuple[int, int]:
    """Calls as fast as it may, at most ``wanted`` a second. Returns how many were taken and how many refused."""
    taken = refused = 0
    answers: deque[tuple[float, bool, float]] = deque()
    bucket: Bucket | None = None
    for tick in range(begin * wanted, end * wanted):
        now = tick / wanted
        while answers and answers[0][0] <= now:
            _, ok, begun = answers.popleft()
            taken, refused = taken + ok, refused + (not ok)
            if not ok:
                throttle.refused(now, None, begun)
        rate = throttle.rate(now, None)
        if rate is None:
            bucket = None
        else:
            level = 1.0 if bucket is None else bucket.refilled(now)
            bucket = Bucket.of(rate, now)
            bucket.level = min(level, bucket.burst)
        if bucket is None or bucket.take(now) == 0:
            throttle.begin(now)
            answers.append((now + vendor.latency_s, vendor.takes(now), now))
    return taken, refused


@pytest.mark.parametrize("latency_s", [0.1, 2.0, 5.0])
@pytest.mark.parametrize("limit", [2, 20, 100])
def test_what_a_provider_takes_is_used_and_hardly_anything_is_refused(limit: int, latency_s: float) -> None:
    throttle, vendor = Throttle(), Vendor(limit, latency_s)
    run(throttle, vendor, 400, 0, 60)  # finds out
    taken, refused = run(throttle, vendor, 400, 60, 660)

    late = latency_s > 1  # what is refused is known later, and more of it is under way
    assert taken >= (0.4 if late else 0.6) * limit * 600
    assert refused <= (0.25 if late else 0.05) * taken


def test_a_provider_that_takes_more_again_gets_more() -> None:
    throttle, vendor = Throttle(), Vendor(5)
    run(throttle, vendor, 400, 0, 120)
    vendor.per_second = 1_000
    run(throttle, vendor, 400, 120, 900)

    assert throttle.rate(900, None) is None


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from(["begin", "refused"])), max_size=60), ceilings)
def test_a_rate_is_never_below_the_slowest_nor_above_what_is_allowed(
    history: list[tuple[float, str]], ceiling: float | None
) -> None:
    throttle, now = Throttle(), 0.0
    for wait, what in history:
        now += wait
        if what == "begin":
            throttle.begin(now)
        else:
            before = throttle.rate(now, ceiling)
            was_news = throttle.refused(now, ceiling)
            after = throttle.rate(now, ceiling)
            if was_news and before is not None and before > 2 * SLOWEST:
                assert after is None or after < before
        rate = throttle.rate(now, ceiling)
        assert rate is None or (rate >= SLOWEST and (ceiling is None or rate < ceiling))


@given(st.integers(0, 2_000), ceilings, st.lists(seconds, min_size=2, max_size=20))
def test_without_another_refusal_the_rate_only_grows_and_is_let_go_in_the_end(
    calls: int, ceiling: float | None, waits: list[float]
) -> None:
    throttle = Throttle()
    for _ in range(calls):
        throttle.begin(10.0)
    throttle.refused(10.5, ceiling)
    rates = [throttle.rate(10.5 + wait, ceiling) for wait in sorted(waits)]

    for before, after in pairwise(rates):
        assert after is None or (before is not None and before <= after)
    assert throttle.rate(10.5 + 3_600, ceiling) is None
