"""Every answer to a call, and what follows from it."""

from typing import Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.domain.attempts import (
    Again,
    Doubt,
    End,
    Next,
    Tries,
    after,
    ask_at,
    backoff_ms,
    candidates,
    may_resend,
    provider_for,
    resend,
    settle_until,
)
from app.domain.outcome import CIRCUIT_OPEN, Outcome, OutcomeKind
from app.domain.policy import InDoubt, Retries
from schemas.words import Platform, Provider

RULE = Retries(attempts=3, base_ms=1_000, cap_ms=60_000)
FIRST = Tries(provider="twilio")
SEND = "5f1c9a52-0d57-8b0e-9a39-5f5c1d3f0003"
NOW = 1_700_000_000_000

GIVE_UP = InDoubt(settle_ms=300_000, default="give_up", by_category={"security": "resend"})


def judged(outcome: Outcome, tries: Tries = FIRST, able: tuple[Provider, ...] = ("twilio",)) -> Next:
    return after(outcome, tries, RULE, able, SEND, NOW)


@pytest.mark.parametrize(
    ("outcome", "end"),
    [
        (Outcome("ok", provider_message_id="m1"), End("sent", None)),
        (Outcome("drop"), End("failed", "permanent")),
        (Outcome("drop", why="permanent"), End("failed", "permanent")),
        (Outcome("drop", why="opted_out"), End("failed", "permanent")),
        (Outcome("drop", why="too_large"), End("failed", "too_large")),
        (Outcome("drop", why="no_provider"), End("failed", "no_provider")),
        (Outcome("bad_token"), End("failed", "invalid_token")),
    ],
)
def test_a_definite_answer_ends_the_send(outcome: Outcome, end: End) -> None:
    assert judged(outcome) == end


@pytest.mark.parametrize("doubt", ["timeout", "connection_lost"])
def test_a_lost_answer_is_in_doubt_and_says_why(doubt: Literal["timeout", "connection_lost"]) -> None:
    assert judged(Outcome("in_doubt", doubt=doubt)) == Doubt(doubt)


def test_a_retry_uses_an_attempt_up_and_waits() -> None:
    again = judged(Outcome("retry", code="503"))

    assert again == Again(NOW + backoff_ms(RULE, 0, SEND), Tries(used=1, waits=1, provider="twilio"), "503")


@pytest.mark.parametrize("kind", ["throttle", "config"])
def test_throttling_and_wrong_settings_use_no_attempt_up(kind: OutcomeKind) -> None:
    again = judged(Outcome(kind), replace(FIRST, used=2))

    assert isinstance(again, Again)
    assert again.tries.used == 2


def test_the_last_attempt_refused_ends_as_retries_exhausted() -> None:
    assert judged(Outcome("retry"), replace(FIRST, used=2)) == End("failed", "retries_exhausted")


def test_what_may_have_arrived_has_not_failed_when_the_attempts_are_used_up() -> None:
    assert judged(Outcome("retry"), replace(FIRST, used=2, doubted=True)) == End("unknown", None)


@pytest.mark.parametrize("outcome", [Outcome("drop"), Outcome("drop", why="too_large"), Outcome("bad_token")])
def test_what_may_have_arrived_has_not_failed_when_its_repeat_is_refused(outcome: Outcome) -> None:
    assert judged(outcome, Tries(used=1, provider="twilio", doubted=True, resent=True)) == End("unknown", None)


def test_nothing_is_called_before_the_time_that_the_provider_named() -> None:
    again = judged(Outcome("throttle", retry_after_ms=30_000))

    assert isinstance(again, Again)
    assert again.at >= NOW + 30_000


@pytest.mark.parametrize("kind", ["retry", "config"])
def test_the_next_provider_is_tried_at_once(kind: OutcomeKind) -> None:
    again = judged(Outcome(kind, code="x"), able=("twilio", "vonage"))

    assert again == Again(NOW, replace(FIRST, used=int(kind == "retry"), provider="vonage"), "x")


def test_throttling_stays_with_its_provider() -> None:
    again = judged(Outcome("throttle"), able=("twilio", "vonage"))

    assert isinstance(again, Again)
    assert again.tries.provider == "twilio"
    assert again.at > NOW


def test_a_resting_lane_hands_over_to_the_next_provider() -> None:
    again = judged(Outcome("throttle", code=CIRCUIT_OPEN, retry_after_ms=5_000), able=("twilio", "vonage"))

    assert again == Again(NOW, replace(FIRST, provider="vonage"), CIRCUIT_OPEN)


def test_a_resting_lane_without_another_is_an_outage() -> None:
    again = judged(Outcome("throttle", code=CIRCUIT_OPEN, retry_after_ms=5_000))

    assert isinstance(again, Again)
    assert again.outage
    assert again.at >= NOW + 5_000


BOTH = ("twilio", "vonage")


@pytest.mark.parametrize(
    ("outcome", "able", "doubted", "provider"),
    [
        (Outcome("retry"), BOTH, False, "twilio"),
        (Outcome("config"), BOTH, False, "twilio"),
        (Outcome("throttle", code=CIRCUIT_OPEN), BOTH, False, "twilio"),  # else it would wait for the last one only
        (Outcome("throttle"), BOTH, False, "vonage"),
        (Outcome("throttle"), BOTH, True, "vonage"),
        (Outcome("retry"), BOTH, True, "vonage"),
        (Outcome("throttle", code=CIRCUIT_OPEN), BOTH, True, "vonage"),
        (Outcome("retry"), (), False, "vonage"),
    ],
)
def test_after_the_last_provider_the_first_comes_again_after_a_wait(
    outcome: Outcome, able: tuple[Provider, ...], doubted: bool, provider: Provider
) -> None:
    tries = Tries(used=1, provider="vonage", doubted=doubted)
    again = judged(outcome, tries, able)

    assert isinstance(again, Again)
    assert again.tries == replace(tries, used=1 + (outcome.kind == "retry"), waits=1, provider=provider)
    assert again.at > NOW


def test_a_send_that_may_have_arrived_stays_with_its_provider() -> None:
    again = judged(Outcome("retry"), replace(FIRST, doubted=True), ("twilio", "vonage"))

    assert isinstance(again, Again)
    assert again.tries.provider == "twilio"
    assert provider_for(Tries(provider="twilio", doubted=True), ("vonage",)) is None


@pytest.mark.parametrize(
    ("platform", "able"),
    [("ios", ("apns",)), ("android", ("fcm",)), ("web", ())],
)
def test_push_goes_to_the_provider_of_the_devices_platform_if_it_has_settings(
    platform: Platform, able: tuple[Provider, ...]
) -> None:
    assert candidates(("apns", "fcm", "webpush"), frozenset(("apns", "fcm")), platform) == able


def test_providers_are_tried_in_the_policys_order() -> None:
    assert candidates(("sns", "twilio", "vonage"), frozenset(("twilio", "sns")), None) == ("sns", "twilio")


@given(st.integers(0, 100), st.uuids())
def test_waits_double_up_to_the_cap_and_spread_by_the_send(waits: int, send: UUID) -> None:
    wait = backoff_ms(RULE, waits, str(send))
    longest = min(RULE.base_ms * 2**waits, RULE.cap_ms)

    assert longest // 2 <= wait <= longest
    assert wait == backoff_ms(RULE, waits, str(send))


# --- in doubt


@pytest.mark.parametrize(
    ("category", "tries", "allowed"),
    [
        ("security", FIRST, True),
        ("marketing", FIRST, False),
        ("security", replace(FIRST, resent=True), False),
        ("security", Tries(provider="sns"), False),
    ],
)
def test_a_send_in_doubt_is_sent_once_more_by_category_and_never_by_sns(
    category: str, tries: Tries, allowed: bool
) -> None:
    assert may_resend(GIVE_UP, category, tries) == allowed


def test_the_repeat_is_the_next_attempt_by_the_same_provider() -> None:
    assert resend(FIRST) == Tries(used=1, provider="twilio", doubted=True, resent=True)


def test_what_is_given_up_is_asked_after_for_the_whole_time() -> None:
    assert settle_until(GIVE_UP, "marketing", FIRST, NOW, NOW + 60_000) == NOW + 300_000


def test_what_is_sent_again_is_sent_while_it_is_still_of_use() -> None:
    assert settle_until(GIVE_UP, "security", FIRST, NOW, NOW + 280_000) == NOW + 140_000
    assert settle_until(GIVE_UP, "security", FIRST, NOW, NOW + 86_400_000) == NOW + 300_000


def test_a_push_that_can_only_be_told_by_the_app_waits_just_for_its_word() -> None:
    assert settle_until(GIVE_UP, "security", Tries(provider="apns"), NOW, NOW + 280_000) == NOW + 10_000


def test_asking_slows_down_and_ends_when_the_time_is_over() -> None:
    asked = [(ask_at(NOW, n, NOW + 300_000) - NOW) / 1000 for n in range(8)]

    assert asked == [5, 15, 35, 75, 155, 300, 300, 300]


outcomes = st.builds(
    Outcome,
    kind=st.sampled_from(["ok", "retry", "throttle", "drop", "bad_token", "config", "in_doubt"]),
    code=st.sampled_from([None, "503", CIRCUIT_OPEN]),
    retry_after_ms=st.none() | st.integers(0, 10**7),
)
orders = st.lists(st.sampled_from(["twilio", "vonage", "sns"]), unique=True).map(tuple)
tried = st.builds(
    Tries,
    used=st.integers(0, 2),
    waits=st.integers(0, 50),
    provider=st.sampled_from(["twilio", "vonage", "sns"]),
    doubted=st.booleans(),
    resent=st.booleans(),
)


@given(outcomes, tried, orders)
def test_an_attempt_is_used_up_by_a_call_and_by_nothing_else(
    outcome: Outcome, tries: Tries, able: tuple[Provider, ...]
) -> None:
    following = judged(outcome, tries, able)

    if isinstance(following, Again):
        assert following.tries.used == tries.used + (outcome.kind == "retry")
        assert following.tries.used < RULE.attempts
        assert following.at >= NOW
        assert following.tries.doubted == tries.doubted
        assert not tries.doubted or following.tries.provider == tries.provider


def test_half_of_a_wait_is_spread_and_no_more() -> None:
    waits = [backoff_ms(Retries(5, 1_000, 60_000), 3, f"send-{n}") for n in range(200)]

    assert 4_000 <= min(waits) < 4_400
    assert 7_600 < max(waits) <= 8_000
