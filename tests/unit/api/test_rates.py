"""Buckets: a burst, then the rate, and headers that say so."""

from app.api.rates import Rate, Rates


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    clock = Clock()
    rates = Rates(clock)
    assert [rates.take("a", Rate(2, 3)).allowed for _ in range(5)] == [True, True, True, False, False]

    clock.now += 1
    assert [rates.take("a", Rate(2, 3)).allowed for _ in range(3)] == [True, True, False]
    assert rates.take("b", Rate(2, 3)).allowed


def test_headers_say_the_limit_what_is_left_and_when_it_is_full_again() -> None:
    standing = Rates(Clock()).take("a", Rate.of(0.5))

    assert standing.headers == {"RateLimit-Limit": "1", "RateLimit-Remaining": "0", "RateLimit-Reset": "2"}


def test_who_takes_more_than_there_is_waits_for_longer() -> None:
    clock = Clock()
    rates = Rates(clock)
    rates.take("a", Rate(10, 10))
    rates.take("a", Rate(10, 10), 99, insist=True)

    refused = rates.take("a", Rate(10, 10))
    assert (refused.allowed, refused.remaining, refused.retry_after_s) == (False, 0, 10)
    clock.now += refused.retry_after_s
    assert rates.take("a", Rate(10, 10)).allowed


def test_names_are_bounded_and_the_one_used_longest_ago_is_forgotten() -> None:
    rates = Rates(Clock(), most_names=2)
    for name in ("a", "b", "a", "c"):
        rates.take(name, Rate(1, 2))

    assert not rates.take("a", Rate(1, 2)).allowed
    assert rates.take("b", Rate(1, 2)).remaining == 1
