"""The balance of one recipient: a sound history holds whatever the order of roles, and each fault is found."""

from typing import Any

import pytest

from app.audit.recipient import Balance, BalanceEvent, balance_of

NOW, OPEN = 1_000_000_000, 60_000
LATER, PAST = NOW + 3_600_000, NOW - 3_600_000


def event(status: str, channel: str | None = None, send_id: str | None = None, **given: Any) -> BalanceEvent:
    event.count += 1  # type: ignore[attr-defined]
    number = event.count  # type: ignore[attr-defined]
    fields = {"event_id": f"e{number}", "reason": None, "at_ms": PAST, "until_ms": 0, "offset": number, **given}
    return BalanceEvent(status=status, channel=channel, send_id=send_id, **fields)


event.count = 0  # type: ignore[attr-defined]


def evaluated(*events: BalanceEvent) -> Balance:
    return balance_of(events, NOW, OPEN)


def sound() -> list[BalanceEvent]:
    return [
        event("accepted"),
        event("held", "push", reason="quiet_hours", until_ms=PAST),
        event("queued", "push", "s1"),
        event("queued", "push", "s2"),
        event("suppressed", "email", reason="opted_out"),
        event("held", "sms", reason="quiet_hours", until_ms=LATER),
        event("sending", "push", "s1"),
        event("sent", "push", "s1"),
        event("failed", "push", "s2", reason="invalid_token"),
    ]


def test_a_sound_history_balances() -> None:
    found = evaluated(*sound())

    assert (found.problems, found.ended, found.waiting, found.under_way) == ([], 3, 1, 0)


def test_an_event_that_is_written_twice_counts_once() -> None:
    events = sound()
    found = evaluated(*events, *(BalanceEvent(**{**_fields(event), "offset": event.offset + 1000}) for event in events))

    assert (found.problems, len(found.accepted_ms)) == ([], 1)


def _fields(event: BalanceEvent) -> dict[str, Any]:
    return {name: getattr(event, name) for name in BalanceEvent.__struct_fields__}


def test_without_an_accepted_nothing_is_evaluated() -> None:
    assert evaluated(*sound()[1:]).accepted_ms == []


@pytest.mark.parametrize("channel", ["push", "email"])
def test_a_second_end_is_a_problem_at_its_offset(channel: str) -> None:
    events = [*sound(), event("expired", channel, "s1" if channel == "push" else None)]
    found = evaluated(*events)

    [(offset, what)] = found.problems
    assert offset == events[-1].offset
    assert "2 ends" in what


def test_an_id_that_is_accepted_anew_has_ends_of_its_own() -> None:
    """Once its time is over, the same id begins anew: its channels end once more."""
    found = evaluated(*sound(), event("accepted"), event("suppressed", "email", reason="opted_out"))

    assert (found.problems, found.ended) == ([], 4)


def test_of_an_id_that_is_accepted_anew_a_second_end_is_found() -> None:
    first = sound()
    twice = [event("accepted"), *(event("suppressed", "email", reason="opted_out") for _ in range(2))]

    assert len(evaluated(*first, *twice).problems) == 1


@pytest.mark.parametrize("status", ["queued", "retrying", "sending", "in_doubt"])
def test_what_is_under_way_is_a_problem_only_when_nothing_comes_for_long(status: str) -> None:
    begun = [event("accepted"), *([event("sending", "push", "s1")] if status != "queued" else [])]
    young = evaluated(*begun, event(status, "push", "s1", at_ms=NOW - OPEN))
    old = evaluated(*begun, event(status, "push", "s1", at_ms=NOW - OPEN - 1))

    assert (young.under_way, young.problems) == (1, [])
    assert [status in what for _, what in old.problems] == [True]


@pytest.mark.parametrize(
    ("status", "reason"), [("held", "quiet_hours"), ("scheduled", None), ("retrying", "unavailable")]
)
def test_a_wait_is_a_problem_only_when_its_time_is_long_over(status: str, reason: str | None) -> None:
    def waiting(until_ms: int) -> Balance:
        return evaluated(event("accepted"), event(status, "push", "s1", reason=reason, until_ms=until_ms))

    assert (waiting(NOW - OPEN).waiting, waiting(NOW - OPEN).problems) == (1, [])
    assert len(waiting(NOW - OPEN - 1).problems) == 1
    assert len(waiting(0).problems) == 1  # it states no time, and nothing came for long


@pytest.mark.parametrize("reason", ["rate_cap", "provider_outage"])
def test_a_wait_for_what_else_happens_states_no_time(reason: str) -> None:
    assert evaluated(event("accepted"), event("held", "push", reason=reason)).waiting == 1


def test_accepted_and_then_nothing_is_a_problem() -> None:
    assert len(evaluated(event("accepted")).problems) == 1
    assert evaluated(event("accepted", at_ms=NOW)).under_way == 1


def test_a_whole_that_waited_became_its_channels() -> None:
    begun = [event("queued", "push", "s1"), event("sending", "push", "s1"), event("sent", "push", "s1")]
    found = evaluated(event("accepted"), event("scheduled", until_ms=PAST - 10 * OPEN), *begun)

    assert (found.problems, found.ended) == ([], 1)


def test_another_role_may_write_before_the_router() -> None:
    parts = [("sending", "push", "s1"), ("sent", "push", "s1")]
    for place in range(3):
        order = [*parts[:place], ("queued", "push", "s1"), *parts[place:]]
        assert evaluated(event("accepted"), *(event(*part) for part in order)).problems == []


@pytest.mark.parametrize("status", ["sent", "unknown", "in_doubt"])
def test_what_a_call_came_to_needs_a_claim_before_it(status: str) -> None:
    result, claim = event(status, "sms", "s1", at_ms=NOW), event("sending", "sms", "s1", at_ms=NOW)
    begin = event("accepted", offset=0), event("queued", "sms", "s1", offset=1)
    [(offset, what)] = evaluated(*begin, result, claim).problems[:1]  # the claim lies behind it

    assert (offset, what) == (result.offset, f"sms s1: {status}, and no call was claimed before")
    assert "no call was claimed" in evaluated(*begin, result).problems[0][1]
    assert "no call" not in str(evaluated(*begin, event("sending", "sms", "s1", offset=2), result).problems)


@pytest.mark.parametrize("status", ["sending", "in_doubt", "retrying", "held"])
def test_nothing_is_done_with_a_send_after_its_end(status: str) -> None:
    events = [*sound(), event(status, "push", "s1", until_ms=LATER)]

    assert [(events[-1].offset, True)] == [(offset, status in what) for offset, what in evaluated(*events).problems]


def test_each_send_of_a_replay_has_an_end_of_its_own() -> None:
    one = [event(status, "push", "s1") for status in ("accepted", "queued", "sending", "sent")]
    other = event("accepted", "push", "s2")

    assert evaluated(*one).problems == []
    assert ["s2" in what for _, what in evaluated(*one, other).problems] == [True]
