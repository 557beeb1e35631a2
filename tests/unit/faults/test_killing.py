"""What the experiments with kills find of doubts whose calls never began."""

from typing import Any

import pytest

from faults.experiments.killing import uncalled
from schemas.instants import rfc3339

KILLED = 1_000_000


def events(claimed_at: int, reason: str = "crash") -> list[dict[str, Any]]:
    said = {"send_id": "s", "channel": "push"}
    return [
        {**said, "status": "in_doubt", "reason": reason, "occurred_at": rfc3339(KILLED + 21_000)},
        {**said, "status": "sending", "reason": None, "occurred_at": rfc3339(claimed_at)},
    ]


@pytest.mark.parametrize(
    ("claimed_at", "reason", "called", "role", "found"),
    [
        (KILLED - 100, "crash", {"s"}, "push", (1, 0, 0)),
        (KILLED - 100, "crash", set(), "push", (1, 1, 0)),
        (KILLED - 6_000, "crash", set(), "push", (1, 1, 1)),
        (KILLED - 6_000, "crash", {"s"}, "push", (1, 0, 0)),
        (KILLED - 100, "crash", set(), "email", (1, 1, 1)),
        (KILLED + 100, "crash", set(), "push", (1, 1, 1)),
        (KILLED - 100, "timeout", set(), "push", (0, 0, 0)),
    ],
)
def test_a_doubt_without_a_call_is_counted_and_one_that_was_claimed_early_apart(
    claimed_at: int, reason: str, called: set[str | None], role: str, found: tuple[int, int, int]
) -> None:
    assert uncalled(events(claimed_at, reason), called, {role: [KILLED]}) == found
