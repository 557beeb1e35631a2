"""When a lane rests and when it works again, with invented times."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.outcome import Outcome, OutcomeKind
from app.providers.breaker import Breaker

OK, DEAD = Outcome("ok"), Outcome("bad_token", code="Unregistered")
FAILURES: tuple[OutcomeKind, ...] = ("retry", "throttle", "in_doubt")


def tell(breaker: Breaker, outcome: Outcome, times: int = 1, now: float = 0.0) -> Outcome:
    for _ in range(times):
        judged = breaker.record(outcome, now)
    return judged


@pytest.mark.parametrize("kind", FAILURES)
def test_ten_failures_in_a_row_open(kind: OutcomeKind) -> None:
    breaker = Breaker()

    tell(breaker, Outcome(kind), 9)
    assert not breaker.rests(0.0)

    tell(breaker, Outcome(kind))
    assert breaker.cause == "outage"
    assert breaker.rests(0.0)


def test_a_success_between_failures_starts_the_count_again() -> None:
    breaker = Breaker()

    for _ in range(5):
        tell(breaker, Outcome("retry"), 9)
        tell(breaker, OK)

    assert breaker.cause is None


def test_one_refusal_of_our_settings_opens() -> None:
    breaker = Breaker()

    tell(breaker, Outcome("config", code="InvalidProviderToken"))

    assert breaker.cause == "config"


def test_a_destination_that_the_account_may_not_reach_harms_only_itself() -> None:
    breaker = Breaker()

    tell(breaker, Outcome("config", code="21408", scope="address"), 100)

    assert breaker.cause is None


def test_messages_that_cannot_work_say_nothing_of_the_lane() -> None:
    breaker = Breaker()

    tell(breaker, Outcome("drop"), 1000)
    assert breaker.cause is None

    tell(breaker, Outcome("config"))
    tell(breaker, Outcome("drop"))
    assert breaker.cause == "config"


def test_while_open_one_probe_a_second_may_begin() -> None:
    breaker = Breaker()
    tell(breaker, Outcome("config"), now=10.0)

    assert breaker.rests(10.9)
    assert not breaker.rests(11.0)
    breaker.begin(11.0)
    assert breaker.rests(11.9)
    assert not breaker.rests(12.0)


@pytest.mark.parametrize("failure", [Outcome("config"), Outcome("retry")])
def test_a_probe_that_fails_leaves_it_open(failure: Outcome) -> None:
    breaker = Breaker()
    tell(breaker, Outcome("config"), now=0.0)

    tell(breaker, failure, now=1.0)

    assert breaker.cause is not None


def test_the_first_success_closes_and_capacity_returns_over_a_minute() -> None:
    breaker = Breaker()
    tell(breaker, Outcome("retry"), 10, now=0.0)

    tell(breaker, OK, now=5.0)

    assert breaker.cause is None
    assert breaker.share(5.0) == 0.0
    assert breaker.share(35.0) == 0.5
    assert breaker.share(65.0) == breaker.share(1000.0) == 1.0


def test_a_refused_send_stays_away_longer_the_longer_the_lane_rests() -> None:
    breaker = Breaker()
    tell(breaker, Outcome("config"), now=100.0)

    assert [breaker.wait_s(now) for now in (100.0, 110.0, 1000.0)] == [1.0, 10.0, 30.0]


def test_fifty_dead_addresses_in_a_row_make_the_settings_suspect() -> None:
    breaker = Breaker()

    assert tell(breaker, DEAD, 49).kind == "bad_token"
    assert tell(breaker, DEAD) == Outcome("config", code="Unregistered")
    assert breaker.cause == "tokens"


def test_over_a_fifth_of_two_hundred_dead_make_the_settings_suspect() -> None:
    breaker = Breaker()

    for number in range(200):
        judged = tell(breaker, DEAD if number % 5 == 0 else OK)
    assert breaker.cause is None

    judged = tell(breaker, DEAD)
    assert (judged.kind, breaker.cause) == ("bad_token", None)  # one left the window as one came
    judged = tell(breaker, DEAD)
    assert judged.kind == "config"
    assert breaker.cause == "tokens"


def test_a_suspect_lane_retires_no_address_until_one_is_accepted() -> None:
    breaker = Breaker()
    tell(breaker, DEAD, 50, now=0.0)

    assert tell(breaker, DEAD, 100, now=5.0).kind == "config"
    tell(breaker, OK, now=6.0)

    assert tell(breaker, DEAD, now=7.0).kind == "bad_token"


def test_a_dead_address_proves_that_the_provider_answers() -> None:
    breaker = Breaker()
    tell(breaker, Outcome("retry"), 10)

    tell(breaker, DEAD, now=2.0)

    assert breaker.cause is None


OUTCOMES = st.sampled_from([OK, DEAD, Outcome("drop"), Outcome("config"), *(Outcome(kind) for kind in FAILURES)])


@given(st.lists(st.tuples(OUTCOMES, st.floats(0, 5))))
def test_whatever_happens_a_probe_may_begin_within_a_second_and_a_success_closes(
    history: list[tuple[Outcome, float]],
) -> None:
    breaker, now = Breaker(), 0.0
    for outcome, pause in history:
        now += pause
        if not breaker.rests(now):
            breaker.begin(now)
        breaker.record(outcome, now)

    assert not breaker.rests(now + breaker.probe_every_s)
    breaker.record(OK, now)
    assert not breaker.rests(now)


@given(st.lists(OUTCOMES))
def test_only_dead_addresses_are_judged_anew(history: list[Outcome]) -> None:
    breaker = Breaker()
    record: Callable[[Outcome], Outcome] = lambda outcome: breaker.record(outcome, 0.0)  # noqa: E731

    for outcome in history:
        judged = record(outcome)
        assert judged is outcome or (outcome is DEAD and judged.kind == "config")
