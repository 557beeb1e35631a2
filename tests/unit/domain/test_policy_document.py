"""A policy holds no value that can't be shown, compared and stored."""

import msgspec
import pytest

from app.domain.policy import PolicyError, parse_policy
from app.domain.policy.document import read_document

ODD = [
    r'categories: {"\uD800": {channels: [sms]}}',
    r'timezone: "\uDFFF"',
    r'{"timezone": "\ud800"}',
    r'timezone: "a\0b"',
    "caps: [{name: a, limit: 1e999, window: 24h}]",
    "caps: [{name: a, limit: .inf, window: 24h}]",
    '{\t"timezone": 1e999}',
    '{\t"timezone": 18446744073709551616}',
    "a: " + "[" * 101 + "]" * 101,
    "timezone: " + "1" * 5_000,
]


@pytest.mark.parametrize("text", ODD, ids=lambda text: ascii(text[:30]))
def test_a_policy_with_an_impossible_value_is_refused_in_words_that_can_be_sent(text: str) -> None:
    with pytest.raises(PolicyError) as refusal:
        parse_policy(text)
    msgspec.json.encode([str(problem) for problem in refusal.value.problems])


def test_what_is_read_can_be_written() -> None:
    msgspec.json.encode(read_document("timezone: Europe/London\ncaps: [{name: a, limit: 1e3, window: 24h}]").root)
