"""What became of a channel, told event by event."""

from typing import Any

import pytest

from app.simulate.fates import Fate, after_end, after_event
from schemas.lifecycle import LifecycleEvent

AT = "2026-03-01T09:00:00.000Z"
AT_MS = 1_772_355_600_000


def fate(*told: dict[str, Any]) -> Fate | None:
    known: Fate | None = None
    for said in told:
        event = {"event_id": "e", "notification_id": "n", "user_id": "u", "category": "orders", "channel": "push"}
        known = after_event(known, LifecycleEvent(occurred_at=AT, **{**event, **said}))
    return known


def queued(send_id: str = "s1") -> dict[str, Any]:
    return {"status": "queued", "send_id": send_id}


HELD = {"status": "held", "reason": "quiet_hours"}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([queued()], "sent"),
        ([HELD], "held, quiet_hours"),
        ([HELD, queued()], "sent, after quiet_hours"),
        ([HELD, {"status": "expired"}], "expired"),
        ([{"status": "suppressed", "reason": "rate_cap"}], "suppressed, rate_cap"),
        ([HELD, {"status": "aggregated"}], "aggregated"),
        ([{"status": "scheduled", "channel": None}], "scheduled"),
        ([queued(), {"status": "failed", "reason": "no_provider", "send_id": "s2"}], "sent"),
        ([{"status": "failed", "reason": "no_provider", "send_id": "s2"}, queued()], "sent"),
        ([queued(), {"status": "delivered", "send_id": "s1"}], "sent"),
        ([queued(), {"status": "repeated", "channel": None}], "sent"),
    ],
)
def test_the_last_that_was_decided_is_what_became_of_it(told: list[dict[str, Any]], words: str) -> None:
    made = fate(*told)

    assert made is not None
    assert (made.words, made.category) == (words, "orders")


def test_that_it_was_read_is_no_fate() -> None:
    assert fate({"status": "accepted", "channel": None}) is None


def test_it_is_sent_when_it_is_handed_to_its_channel() -> None:
    made = fate(HELD, queued())

    assert made is not None
    assert made.at_ms == AT_MS


def test_it_failed_when_the_last_of_its_sends_has() -> None:
    two = fate(queued("s1"), queued("s2"))
    assert two is not None
    one = after_end(two, "s1", "failed", "invalid_token")
    none = after_end(one, "s2", "failed", "permanent")

    assert [f.words for f in (two, one, none)] == ["sent", "sent", "failed, permanent"]
    assert after_end(two, "of another run", "failed", None) is two
