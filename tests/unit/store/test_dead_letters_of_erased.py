"""Dead letters of users who were erased after the letter's record aren't shown; they hold what the user was sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.erasure import user_hash
from app.store.dead_letters import is_of_erased
from app.store.erased import ErasedUsers
from schemas.dead import DeadLetter, dead_letter
from schemas.erasures import USER, Erased, encode_erasure
from schemas.topics import ERASURES, LIFECYCLE
from tests.records import Record
from tests.unit.store.conftest import T0


def erased(at: int = T0, until: int | None = None) -> ErasedUsers:
    users = ErasedUsers()
    key = USER + user_hash("ann").hex().encode()
    users.take(Record(ERASURES, key=key, value=encode_erasure(Erased(erased_at=at, until=until))))
    return users


def letter(value: bytes | None, key: bytes | None = b"ann", timestamp: int = T0 - 1, now: int = T0 - 1) -> DeadLetter:
    return dead_letter(
        Record(LIFECYCLE, key=key, value=value, timestamp=timestamp), "invalid", "is bad", None, "router", now
    )


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b"not json", b"ann"),
        (None, b"ann"),
        (b'{"user_id": "ann"}', b"somebody else"),
        (b'{"user_id": "ann"}', None),
        (b'{"specversion": "1.0", "subject": "ann"}', None),
    ],
)
def test_a_letter_that_names_the_user_is_hidden(value: bytes | None, key: bytes | None) -> None:
    assert is_of_erased(letter(value, key), erased())
    assert is_of_erased(letter(value, key), erased(until=T0 + 1))  # and stays so when the user begins anew


def test_letters_of_others_and_of_later_are_shown() -> None:
    assert not is_of_erased(letter(b'{"user_id": "bob"}', b"bob"), erased())
    assert not is_of_erased(letter(b"{}", timestamp=T0 + 1, now=T0 + 1), erased())


@pytest.mark.parametrize("timestamp", [-1, 0, T0 + 10**9, 2**62])
def test_a_record_that_lies_about_its_time_is_as_old_as_its_letter(timestamp: int) -> None:
    assert is_of_erased(letter(b"{}", timestamp=timestamp), erased())
    assert not is_of_erased(letter(b"{}", timestamp=timestamp, now=T0 + 1), erased())


@given(st.binary() | st.none(), st.binary() | st.none())
def test_whatever_a_letter_holds_it_is_judged(value: bytes | None, key: bytes | None) -> None:
    is_of_erased(letter(value, key), erased())
