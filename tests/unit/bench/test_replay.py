"""A replay's benchmark fails for any candidate too many, too few, or sent twice."""

from typing import Any

import pytest

from bench.replay import NotExact, check_arrived, check_receipt


def receipt(**changes: Any) -> dict[str, Any]:
    exact = {
        "candidates": 3,
        "dry_run": {"would_send": 3, "open": 0},
        "outcomes": {"sent": 3, "failed": 0, "not_begun": 0},
    }
    return exact | changes


def test_a_receipt_with_each_sent_is_exact() -> None:
    check_receipt(receipt(), 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"candidates": 2},
        {"candidates": 4},
        {"dry_run": {"would_send": 2, "open": 1}},
        {"outcomes": {"sent": 2, "failed": 1}},
        {"outcomes": {"sent": 2, "not_begun": 1}},
        {"outcomes": {"sent": 3, "waiting": 1}},
    ],
)
def test_a_receipt_that_says_anything_else_is_not(changes: dict[str, Any]) -> None:
    with pytest.raises(NotExact):
        check_receipt(receipt(**changes), 3)


def test_each_message_arrives_exactly_once_whatever_else_does() -> None:
    check_arrived(["a", "b"], {"a": 1, "b": 1, "another": 7})


@pytest.mark.parametrize("arrivals", [{"a": 1}, {"a": 1, "b": 2}, {}, {"a": 0, "b": 1}])
def test_a_message_that_is_missing_or_came_twice_is_not_exact(arrivals: dict[str, int]) -> None:
    with pytest.raises(NotExact, match="of 2 messages"):
        check_arrived(["a", "b"], arrivals)
