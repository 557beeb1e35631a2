"""Two providers of one channel: who takes over from an open circuit and when, and what goes first when it closes."""

from random import Random
from typing import Any

import pytest

from agents.executor import GatedExecutor
from agents.sender.dispatch import PAUSED_DRAIN_MS
from app.domain.outcome import Outcome
from app.providers.breaker import Breaker
from app.providers.gate import Gate, GatedClient
from schemas.words import Priority, Provider
from tests.agents.dispatching import FewSlots, called, let_pass, with_slots
from tests.agents.executing import Gatekeeper
from tests.agents.stage import HOUR, MINUTE, Stage, a_send

TWO: tuple[Any, ...] = ("twilio", "vonage")
PATIENT: dict[str, Any] = {"failover": {"sms": {"after": "30s"}}}
HELD = ("held", "provider_outage")


def resting(slots: Any, **policy: Any) -> Stage:
    return with_slots(slots, providers=TWO, **policy)


def providers_called(stage: Stage) -> list[str]:
    return [call.provider for call in stage.calls]


@pytest.mark.parametrize("open_for_ms", [0, 1_000, 29_999])
def test_critical_is_handed_over_at_once_whatever_the_policy_says(open_for_ms: int) -> None:
    slots = FewSlots(twilio=None, vonage=9)
    slots.open_for_ms = open_for_ms
    stage = resting(slots, **PATIENT)
    stage.take(a_send(1, priority="critical", category="security", event_type="login.otp"))
    stage.take(a_send(2, user_id="u2"))

    assert providers_called(stage) == ["vonage"]
    assert called(stage) == [1]
    assert stage.story(2) == [HELD]


def test_what_is_not_critical_is_handed_over_when_the_circuit_was_open_long_enough() -> None:
    slots = FewSlots(twilio=None, vonage=9)
    slots.open_for_ms = 10_000
    stage = resting(slots, **PATIENT)
    for number, user in enumerate(("u1", "u2", "u3"), start=1):
        stage.take(a_send(number, user_id=user))
    stage.wait(10_000)
    assert stage.calls == []

    slots.open_for_ms = 30_000
    stage.wait(PAUSED_DRAIN_MS)
    assert providers_called(stage) == ["vonage"] * 3


def test_an_outage_of_less_time_than_that_hands_nothing_over() -> None:
    slots = FewSlots(twilio=None, vonage=9)
    slots.open_for_ms = 10_000
    stage = resting(slots, **PATIENT)
    stage.take(a_send())
    stage.wait(5_000)
    slots.free["twilio"] = 9
    stage.wait(PAUSED_DRAIN_MS)

    assert providers_called(stage) == ["twilio"]


def test_a_categorys_own_time_stands_in_for_the_policys() -> None:
    categories = {"orders": {"channels": ["sms"], "failover": {"sms": {"after": "0"}}}, "other": {}, "security": {}}
    slots = FewSlots(twilio=None, vonage=9)
    slots.open_for_ms = 0
    stage = resting(slots, **PATIENT, categories=categories)
    stage.take(a_send())

    assert providers_called(stage) == ["vonage"]


def test_without_a_rule_another_provider_takes_over_at_once() -> None:
    slots = FewSlots(twilio=None, vonage=9)
    slots.open_for_ms = 0
    stage = resting(slots)
    stage.take(a_send())

    assert providers_called(stage) == ["vonage"]


@pytest.mark.parametrize("category", ["orders", "security"])
def test_what_is_in_doubt_at_one_provider_is_never_made_at_another(category: str) -> None:
    slots = FewSlots(twilio=9, vonage=9)
    stage = resting(slots)
    stage.take(a_send(1, category=category))
    slots.free["twilio"] = None
    stage.answer("in_doubt", doubt="timeout")
    for _ in range(60):
        stage.wait(MINUTE)
        while stage.calls:
            assert stage.calls[0].provider == "twilio"
            stage.answer(None)

    assert {event.provider for event in stage.events if event.status == "sending"} == {"twilio"}


def test_a_further_step_goes_to_the_providers_behind_the_first_only() -> None:
    stage = resting(FewSlots(twilio=9, vonage=9))
    stage.take(a_send(1, after="twilio", of="5f1c9a52-0d57-8b0e-9a39-000000090000"))
    assert providers_called(stage) == ["vonage"]
    stage.answer("retry")
    stage.wait_for_call()
    assert providers_called(stage) == ["vonage"]
    stage.answer("ok")

    assert {(event.detail or {}).get("of") for event in stage.events} == {"5f1c9a52-0d57-8b0e-9a39-000000090000"}


def test_a_further_step_whose_providers_are_gone_fails() -> None:
    stage = resting(FewSlots(twilio=9, vonage=9))
    stage.take(a_send(1, after="vonage"))

    assert stage.story() == [("failed", "no_provider")]


# --- with real circuit breakers ---


class Breakers:
    """Two providers behind real gates, on the stage's clock."""

    def __init__(self, probe_every_s: float = 1.0, **policy: Any) -> None:
        self.gates = {name: self._gate(name, probe_every_s) for name in TWO}
        clients = {name: GatedClient(Gatekeeper(), gate) for name, gate in self.gates.items()}
        slots = GatedExecutor(clients, limit=200, reserved=20, monotonic=lambda: self.stage.now / 1000)
        self.stage = resting(slots, **policy)

    def _gate(self, name: Provider, probe_every_s: float) -> Gate:
        breaker = Breaker(probe_every_s=probe_every_s)
        return Gate(name, concurrency=100, breaker=breaker, clock=lambda: self.stage.now / 1000)

    def fail(self, provider: Provider, times: int = 10) -> None:
        for _ in range(times):
            self.gates[provider].record(Outcome("retry", code="503"))


def test_an_open_breaker_hands_critical_over_at_once_and_the_rest_in_its_time() -> None:
    world = Breakers(probe_every_s=3600, **PATIENT)
    stage = world.stage
    world.fail("twilio")
    stage.take(a_send(1))
    stage.take(a_send(2, user_id="u2", priority="critical"))
    assert [(call.provider, call.urgent) for call in stage.calls] == [("vonage", True)]
    stage.answer("ok")
    stage.wait(29_000)
    assert stage.calls == []
    stage.wait(2_000)
    assert [call.provider for call in stage.calls] == ["vonage"]


def test_the_newest_critical_is_the_probe_and_the_rest_follow_when_it_closes() -> None:
    world = Breakers()
    stage = world.stage
    for provider in TWO:
        world.fail(provider)
    for number, user in enumerate(("u1", "u2", "u3"), start=1):
        stage.take(a_send(number, user_id=user, priority="critical"))
    assert stage.calls == []
    stage.wait(PAUSED_DRAIN_MS)
    probes = called(stage)
    assert probes[0] == 3
    while stage.calls:
        world.gates[stage.calls[0].provider].record(Outcome("ok"))
        stage.answer("ok")
    stage.wait(2 * PAUSED_DRAIN_MS)
    stage.answer_all()

    assert [stage.story(number)[-1][0] for number in (1, 2, 3)] == ["sent"] * 3


def backlog(stage: Stage, *wanted: tuple[Priority, str]) -> None:
    """Takes sends of one priority and user after the other, each accepted later than the one before."""
    for number, (priority, user) in enumerate(wanted, start=1):
        stage.take(a_send(number, priority=priority, user_id=user))


def test_on_recovery_the_newest_critical_goes_first_and_low_last() -> None:
    slots = FewSlots(twilio=None, vonage=None)
    stage = resting(slots)
    users = [f"u{number}" for number in range(1, 9)]
    for user in users[3:]:
        stage.command("profile.set", user, phone="+4420718387" + user[1] * 2, phone_verified=True)
    order: list[tuple[Priority, str]] = [
        ("low", "u1"),
        ("critical", "u2"),
        ("normal", "u3"),
        ("critical", "u4"),
        ("normal", "u5"),
        ("critical", "u6"),
    ]
    backlog(stage, *order)
    assert stage.calls == []
    gone: list[int] = []
    slots.free["twilio"] = 1
    while stage.calls or not gone:
        stage.wait(0 if stage.calls else PAUSED_DRAIN_MS)
        gone += called(stage)
        slots.free["twilio"] = 1
        stage.answer("ok")

    assert gone == [6, 4, 2, 3, 5, 1]


def test_what_expires_during_an_outage_expires_in_its_time_and_is_not_sent() -> None:
    slots = FewSlots(twilio=None, vonage=None)
    stage = resting(slots)
    stage.take(a_send(1, expires_at=stage.now + MINUTE, priority="critical"))
    stage.take(a_send(2, user_id="u2"))
    stage.wait(MINUTE)
    assert stage.story(1)[-1] == ("expired", None)
    slots.free["twilio"] = 9
    stage.wait(PAUSED_DRAIN_MS)

    assert called(stage) == [2]


def test_after_a_crash_the_backlog_of_an_outage_drains_all_the_same() -> None:
    slots = FewSlots(twilio=None, vonage=None)
    stage = resting(slots)
    backlog(stage, ("critical", "u1"), ("critical", "u2"), ("normal", "u3"))
    stage.crash()
    slots.free["twilio"] = 9
    stage.wait(PAUSED_DRAIN_MS)

    assert called(stage) == [2, 1, 3]


def test_an_outage_says_nothing_more_of_what_is_tried_before_its_time() -> None:
    stage = resting(FewSlots(twilio=None, vonage=None))
    stage.take(a_send(1, priority="critical"))
    stage.wait(20 * PAUSED_DRAIN_MS)

    times = [event.detail["until"] for event in stage.events if event.detail and event.status == "held"]
    assert len(times) == len(set(times)) <= 10


@pytest.mark.parametrize("seed", range(40))
def test_outages_in_any_order_lose_nothing_and_leave_nothing_behind(seed: int) -> None:
    chance = Random(seed)
    slots = FewSlots(twilio=chance.choice((None, 2)), vonage=chance.choice((None, 2)))
    stage = resting(slots, **chance.choice((PATIENT, {})))
    count = 12
    for number in range(1, count + 1):
        priority = chance.choice(("critical", "normal", "low"))
        stage.take(a_send(number, priority=priority, user_id=chance.choice(("u1", "u2", "u3"))))
        slots.open_for_ms = chance.choice((None, 0, 20_000, 40_000))
        for name in TWO:
            slots.free[name] = chance.choice((None, 0, 1, 3))
        stage.wait(chance.choice((0, 100, 5_000, 40_000)))
        while stage.calls and chance.random() < 0.7:
            stage.answer(chance.choice(("ok", "retry", "throttle")), chance.choice(stage.calls))
    slots.open_for_ms = None
    for _ in range(2 * HOUR // MINUTE):
        slots.free = dict.fromkeys(TWO, 9)
        stage.answer_all()
        stage.wait(MINUTE)

    ends = [stage.story(number)[-1][0] for number in range(1, count + 1)]
    assert set(ends) <= {"sent", "failed"}
    assert stage.rows_of("pauses") == {}
    assert all(len([s for s, _ in stage.story(n) if s in ("sent", "failed")]) == 1 for n in range(1, count + 1))


def test_what_a_warm_up_holds_back_goes_to_the_next_provider_unless_critical() -> None:
    slots = FewSlots(twilio=9, vonage=9)
    slots.warming_up.add("twilio")
    stage = resting(slots)
    stage.take(a_send(1))
    stage.take(a_send(2, user_id="u2", priority="critical", category="security", event_type="login.otp"))

    assert providers_called(stage) == ["vonage", "twilio"]


def test_what_may_have_arrived_waits_for_no_plan_and_nobody_waits_behind_it() -> None:
    slots = FewSlots(twilio=1, vonage=9)
    stage = resting(slots, in_doubt={"default": "resend"})
    stage.take(a_send(1))
    slots.warming_up.add("twilio")
    stage.answer("in_doubt", doubt="timeout")
    slots.free["twilio"] = 0
    let_pass(stage, 10 * MINUTE)
    assert stage.calls == []  # its call that is to be made again waits for a slot
    stage.take(a_send(2, user_id="u2"))
    assert [(call.provider, number) for call, number in zip(stage.calls, called(stage), strict=True)] == [("vonage", 2)]

    slots.free["twilio"] = 1
    stage.wait(PAUSED_DRAIN_MS)
    assert sorted(zip(called(stage), providers_called(stage), strict=True)) == [(1, "twilio"), (2, "vonage")]


def test_with_nobody_else_what_a_plan_holds_back_waits_and_expires_in_time() -> None:
    slots = FewSlots(twilio=9)
    slots.warming_up.add("twilio")
    stage = with_slots(slots)
    stage.take(a_send(1))
    stage.take(a_send(2, user_id="u2", expires_at=stage.now + MINUTE))
    assert stage.calls == []
    stage.wait(2 * MINUTE)
    assert stage.story(2) == [("expired", None)]

    slots.warming_up.clear()
    stage.wait(PAUSED_DRAIN_MS)
    assert called(stage) == [1]
