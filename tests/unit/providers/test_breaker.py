"""When a lane rests and when it works again, with invented times."""

from collections.abc import Callable
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.outcome import OUTCOME_KINDS, Outcome, OutcomeKind, Why
from app.providers.breaker import Breaker, Cause
from app.providers.wire import unusable

OK, DEAD = Outcome("ok"), Outcome("bad_token", code="Unregistered")
FAILURES: tuple[OutcomeKind, ...] = ("retry", "throttle", "in_doubt")


def tell(breaker: Breaker, outcome: Outcome, times: int = 1, now: float = 0.0) -> Outcome:
    for _ in range(times):
        judged = breaker.record(outcome, now)
    return judged


Sign = Literal["life", "failure", "settings", "nothing"]

#: What each outcome says of its provider. ``life``: it answers, and takes our settings.
SIGNS: list[tuple[Outcome, Sign]] = [
    (Outcome("ok"), "life"),
    (Outcome("bad_token", code="Unregistered"), "life"),
    (Outcome("throttle", code="TooManyRequests", scope="address"), "life"),
    (Outcome("config", code="21408", scope="address"), "life"),
    (Outcome("drop", code="21610", why="opted_out"), "life"),
    (Outcome("retry", code="503"), "failure"),
    (Outcome("throttle", code="429"), "failure"),
    (Outcome("in_doubt", doubt="timeout"), "failure"),
    (Outcome("in_doubt", doubt="connection_lost"), "failure"),
    (Outcome("config", code="InvalidProviderToken"), "settings"),
    (Outcome("drop", code="400", why="permanent"), "nothing"),
    (Outcome("drop", code="413", why="too_large"), "nothing"),
    (Outcome("drop", code="host_not_allowed", why="no_provider"), "nothing"),
    (unusable("not_e164"), "nothing"),
]


def test_every_kind_of_outcome_and_each_reason_of_a_drop_is_a_sign_or_none() -> None:
    listed = [outcome for outcome, _ in SIGNS]

    assert {outcome.kind for outcome in listed} == set(OUTCOME_KINDS)
    assert {outcome.why for outcome in listed if outcome.kind == "drop"} == set(get_args(Why))
    for kind in ("throttle", "config"):
        assert {outcome.scope for outcome in listed if outcome.kind == kind} == {"lane", "address"}


@pytest.mark.parametrize(("outcome", "sign"), SIGNS)
@pytest.mark.parametrize("cause", ["outage", "config"])
def test_an_open_circuit_is_closed_by_signs_of_life_alone(outcome: Outcome, sign: Sign, cause: Cause) -> None:
    breaker = Breaker()
    tell(breaker, Outcome("config") if cause == "config" else Outcome("retry"), 10)
    assert breaker.cause == cause

    tell(breaker, outcome, now=5.0)

    assert (breaker.cause is None) == (sign == "life")


@pytest.mark.parametrize(("outcome", "sign"), SIGNS)
def test_ten_failures_in_a_row_open_whatever_is_no_sign_between_them(outcome: Outcome, sign: Sign) -> None:
    breaker = Breaker()
    tell(breaker, Outcome("retry"), 9)

    tell(breaker, outcome)
    opened = breaker.cause
    tell(breaker, Outcome("retry"))

    assert opened == {"failure": "outage", "settings": "config"}.get(sign)
    assert (breaker.cause is None) == (sign == "life")


@pytest.mark.parametrize(("outcome", "sign"), SIGNS)
def test_a_probe_that_says_nothing_does_not_count_and_one_that_fails_does(outcome: Outcome, sign: Sign) -> None:
    breaker = Breaker()
    tell(breaker, Outcome("retry"), 10)
    breaker.begin(5.0)

    tell(breaker, outcome, now=5.1)

    assert breaker.rests(5.1) == (sign in ("failure", "settings"))


@pytest.mark.parametrize("outcome", [outcome for outcome, _ in SIGNS if outcome.kind != "ok"])
def test_a_lane_with_suspect_tokens_is_cleared_by_an_accepted_one_alone(outcome: Outcome) -> None:
    breaker = Breaker()
    tell(breaker, DEAD, 50)

    judged = tell(breaker, outcome, now=5.0)

    assert breaker.cause is not None
    assert judged is outcome or outcome.kind == "bad_token"


@pytest.mark.parametrize("outcome", [outcome for outcome, sign in SIGNS if sign == "life" and outcome.kind != "ok"])
@pytest.mark.parametrize("other", [Outcome("retry"), Outcome("config")])
def test_tokens_stay_suspect_though_the_circuit_opens_for_another_cause(outcome: Outcome, other: Outcome) -> None:
    breaker = Breaker()
    tell(breaker, DEAD, 50)
    tell(breaker, other, 10, now=1.0)

    tell(breaker, outcome, now=2.0)
    assert breaker.cause is not None
    assert tell(breaker, DEAD, now=3.0).kind == "config"

    tell(breaker, OK, now=4.0)
    assert breaker.cause is None
    assert tell(breaker, DEAD, now=5.0).kind == "bad_token"


def test_an_address_that_was_not_called_is_dead_whatever_the_lane() -> None:
    breaker = Breaker()
    tell(breaker, DEAD, 50)

    assert tell(breaker, unusable("not_e164"), 100).kind == "bad_token"


def test_addresses_that_are_none_do_not_make_the_settings_suspect() -> None:
    breaker = Breaker()

    tell(breaker, unusable("not_a_subscription"), 1000)

    assert breaker.cause is None


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


OUTCOMES = st.sampled_from([OK, DEAD, *(outcome for outcome, _ in SIGNS if outcome.kind not in ("ok", "bad_token"))])


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
