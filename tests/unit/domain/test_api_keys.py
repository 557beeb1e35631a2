"""How a key changes: what rotating, ending a secret and revoking leave of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.api_keys import (
    MOST_OVERLAP_MS,
    NotNow,
    check_expiry,
    check_overlap,
    is_revoked,
    live_secrets,
    revoked,
    rotated,
    without_secret,
)
from schemas.decode import Invalid
from schemas.keys import MadeKey
from tests.key_topic import a_key

NEW = "a" * 64
T = 1_000_000


def numbers(made: MadeKey, now: int) -> list[int]:
    return [secret.number for secret in live_secrets(made.secrets, now)]


def test_two_secrets_count_until_the_overlap_is_over() -> None:
    after = rotated(a_key("shop"), NEW, 500, T)

    assert numbers(after, T) == [1, 2]
    assert numbers(after, T + 499) == [1, 2]
    assert numbers(after, T + 500) == [2]


def test_without_an_overlap_all_former_secrets_end_at_once() -> None:
    twice = rotated(a_key("shop"), NEW, 500, T)

    assert numbers(rotated(twice, NEW, 0, T), T) == [3]


def test_a_third_secret_waits_until_one_of_two_has_ended() -> None:
    twice = rotated(a_key("shop"), NEW, 500, T)

    with pytest.raises(NotNow, match=r"1970-01-01T00:16:40\.500Z"):
        rotated(twice, NEW, 500, T + 499)
    assert numbers(rotated(twice, NEW, 500, T + 500), T + 500) == [2, 3]


def test_what_is_left_of_two_goes_on_whichever_is_ended() -> None:
    twice = rotated(a_key("shop"), NEW, 500, T)

    assert numbers(without_secret(twice, 1, T), T + 10**9) == [2]
    assert numbers(without_secret(twice, 2, T), T + 10**9) == [1]


def test_the_only_secret_does_not_end_alone() -> None:
    with pytest.raises(NotNow):
        without_secret(a_key("shop"), 1, T)


@pytest.mark.parametrize("number", [-1, 0, 2, 10**18])
def test_a_secret_that_is_not_there_is_not_found(number: int) -> None:
    with pytest.raises(LookupError):
        without_secret(a_key("shop"), number, T)


def test_a_key_that_has_expired_is_not_rotated() -> None:
    with pytest.raises(NotNow):
        rotated(a_key("shop", expires_at=T), NEW, 0, T)


STEPS = st.lists(
    st.tuples(st.sampled_from(["rotate", "end newest", "end oldest"]), st.integers(0, 1000), st.integers(0, 2000)),
    max_size=8,
)


@given(STEPS)
def test_whatever_is_done_one_or_two_secrets_count_and_no_number_comes_twice(steps: list[Any]) -> None:
    made, now = a_key("shop"), T
    seen = {1}
    for step, overlap, wait in steps:
        before, now = made, now + wait
        try:
            if step == "rotate":
                made = rotated(made, NEW, overlap, now)
                assert made.secrets[-1].number not in seen
                seen.add(made.secrets[-1].number)
            else:
                made = without_secret(made, numbers(made, now)[-1 if step == "end newest" else 0], now)
        except NotNow:
            assert made is before
        else:
            assert made.version == before.version + 1
        assert 1 <= len(numbers(made, now)) <= 2


def test_a_revocation_holds_for_that_creation_only_whatever_is_written_of_it() -> None:
    first = a_key("shop")
    revocation = revoked(first, T)

    assert is_revoked(first, revocation)
    assert is_revoked(rotated(first, NEW, 0, T), revocation)
    assert not is_revoked(a_key("shop", creation="another", version=2), revocation)
    assert is_revoked(a_key("shop", creation="an older one", version=1), revocation)
    assert not is_revoked(first, None)


def test_bounds_of_what_is_asked() -> None:
    check_expiry(None, T)
    check_expiry(T + 1, T)
    check_overlap(MOST_OVERLAP_MS)
    with pytest.raises(Invalid, match="expires_at"):
        check_expiry(T, T)
    with pytest.raises(Invalid, match="overlap"):
        check_overlap(MOST_OVERLAP_MS + 1)
