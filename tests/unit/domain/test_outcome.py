"""Outcomes stay within our bounds, whatever a provider sent."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.outcome import (
    AT_CAPACITY,
    CIRCUIT_OPEN,
    LONGEST_WAIT_MS,
    MAX_CODE,
    MAX_MESSAGE_ID,
    WARMING_UP,
    Outcome,
    bounded,
)

#: What JSON can hold where a client expects a text or a number.
anything: Any = st.one_of(
    st.none(), st.booleans(), st.text(), st.integers(), st.floats(), st.lists(st.integers()), st.just("x" * 100_000)
)


@given(anything, anything, anything, anything)
def test_what_enters_rows_and_events_is_bounded(code: Any, name: Any, wait: Any, since: Any) -> None:
    outcome = bounded(Outcome("retry", code, name, wait, invalid_since_ms=since))

    assert outcome.code is None or (len(outcome.code) <= MAX_CODE and outcome.code.isprintable())
    assert outcome.provider_message_id is None or len(outcome.provider_message_id) <= MAX_MESSAGE_ID
    assert outcome.retry_after_ms is None or 0 <= outcome.retry_after_ms <= LONGEST_WAIT_MS
    assert outcome.invalid_since_ms is None or 0 <= outcome.invalid_since_ms < 2**63
    msgspec.msgpack.encode([outcome.code, outcome.provider_message_id, outcome.retry_after_ms])


def test_what_a_vendor_usually_says_is_left_as_it_is() -> None:
    outcome = Outcome("bad_token", "Unregistered", "SM" + "0" * 32, 5_000, invalid_since_ms=1_700_000_000_000)

    assert bounded(outcome) == outcome


@pytest.mark.parametrize("code", [CIRCUIT_OPEN, AT_CAPACITY, WARMING_UP])
def test_a_providers_code_never_passes_for_our_own_gates(code: str) -> None:
    assert bounded(Outcome("throttle", code=code)).code == f"provider_{code}"
