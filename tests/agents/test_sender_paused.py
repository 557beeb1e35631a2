"""Providers that are paused by hand: what they would carry is held, another takes over, and nothing is lost."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from agents.sender.context import ChannelConfig
from agents.sender.dispatch import DRAIN_MS, PAUSED_DRAIN_MS
from agents.sender.machine import SenderMachine
from app.domain.trail import words
from schemas.instants import rfc3339
from schemas.providers import ProviderPause
from schemas.sends import Send, Withdraw
from schemas.words import ENDS, Priority, Provider
from tests.agents.dispatching import FewSlots, called, with_slots
from tests.agents.senders import PHONE, a_push, push, sms
from tests.agents.stage import HOUR, MINUTE, NOON, Stage, a_catalog, a_send

WHY = "the vendor asked us to"
HELD = ("held", "provider_outage")


def pause(stage: Stage, *providers: Provider) -> None:
    """From now on exactly these are."""
    stage.machine.pauses = {
        provider: ProviderPause(provider=provider, paused=True, at=stage.now, since=stage.now, why=WHY)
        for provider in providers
    }


def email(order: tuple[Any, ...] = ("ses", "sendgrid"), slots: Any = None) -> Stage:
    given = {} if slots is None else {"slots": slots}
    catalog = a_catalog(providers={"email": {"order": list(order)}})
    stage = Stage(SenderMachine(catalog, ChannelConfig("email", dict.fromkeys(order, 15_000), **given)))
    stage.command("profile.set", email="ada@example.com", timezone="Europe/London")
    return stage


def a_mail(number: int = 1, **changes: Any) -> Send:
    return a_send(number, channel="email", **changes)


def test_what_a_paused_provider_would_carry_is_held_once_and_sent_on_resume() -> None:
    stage = sms()
    pause(stage, "twilio")
    stage.take(a_send())
    stage.wait(HOUR)

    assert stage.story() == [HELD]
    assert stage.calls == []
    assert len(stage.events) == 1
    assert stage.detail()["until"] == rfc3339(a_send().expires_at)

    pause(stage)
    stage.wait(PAUSED_DRAIN_MS)
    stage.answer_all()

    assert stage.story() == [HELD, ("sending", None), ("sent", None)]
    assert stage.events[1].attempt == 1
    stage.wait(PAUSED_DRAIN_MS)
    assert stage.rows_of("schedule") == stage.rows_of("pauses") == stage.rows_of("backlog") == {}


def test_the_hold_says_who_is_paused_and_why() -> None:
    stage = sms()
    pause(stage, "twilio")
    stage.take(a_send())

    [entry] = stage.detail(0)["trail"]
    assert words(entry).startswith(f"twilio is paused by hand ({WHY})")


@pytest.mark.parametrize("priority", ["critical", "high", "normal", "low"])
def test_every_priority_obeys(priority: Priority) -> None:
    stage = sms()
    pause(stage, "twilio")
    stage.take(a_send(priority=priority))
    stage.wait(MINUTE)

    assert stage.story() == [HELD]


def test_what_is_held_still_expires() -> None:
    stage = sms()
    pause(stage, "twilio")
    stage.take(a_send(expires_at=NOON + HOUR))
    stage.wait(2 * HOUR)

    assert stage.story() == [HELD, ("expired", None)]
    assert stage.rows_of("schedule") == stage.rows_of("pauses") == stage.rows_of("backlog") == {}


def test_low_ones_are_shed_as_if_they_were_still_queued() -> None:
    stage = sms()
    pause(stage, "twilio")
    stage.take(a_send(priority="low"))
    stage.wait(6 * HOUR + MINUTE)

    assert stage.story() == [HELD, ("suppressed", "shed")]
    assert stage.detail(0)["until"] == rfc3339(NOON + 6 * HOUR)


def test_a_call_under_way_ends_and_its_answer_counts() -> None:
    stage = sms()
    stage.take(a_send())
    pause(stage, "twilio")
    stage.answer("ok")

    assert stage.story() == [("sending", None), ("sent", None)]


def test_a_retry_that_comes_due_while_it_is_paused_is_held_and_keeps_its_attempts() -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer("retry")
    pause(stage, "twilio")
    stage.wait(HOUR)
    pause(stage)
    stage.wait(PAUSED_DRAIN_MS)

    assert [status for status, _ in stage.story()] == ["sending", "retrying", "held", "sending"]
    assert stage.events[-1].attempt == 2


def test_the_next_in_order_takes_over_and_the_first_is_used_again_when_it_is_resumed() -> None:
    stage = email()
    pause(stage, "ses")
    stage.take(a_mail(1))
    pause(stage)
    stage.take(a_mail(2))

    assert [call.provider for call in stage.calls] == ["sendgrid"]  # (one of a user at a time)
    stage.answer("ok")
    assert [call.provider for call in stage.calls] == ["ses"]
    assert HELD not in stage.story(1)


def test_a_failed_call_goes_on_past_what_is_paused_without_a_moment_of_haste() -> None:
    stage = email(("ses", "sendgrid"))
    pause(stage, "sendgrid")
    stage.take(a_mail())
    stage.answer("retry", code="503")

    assert stage.calls == []
    assert stage.story()[-1] == ("retrying", "503")
    stage.wait_for_call()
    assert [call.provider for call in stage.calls] == ["ses"]


def test_of_several_paused_ones_the_one_that_is_resumed_takes_what_is_held() -> None:
    stage = email()
    pause(stage, "ses", "sendgrid")
    stage.take(a_mail())
    stage.wait(MINUTE)
    assert stage.story() == [HELD]

    pause(stage, "ses")
    stage.wait(PAUSED_DRAIN_MS)

    assert [call.provider for call in stage.calls] == ["sendgrid"]


def test_a_resting_second_one_holds_as_an_outage_does() -> None:
    stage = email(slots=FewSlots(ses=1, sendgrid=None))
    pause(stage, "ses")
    stage.take(a_mail())
    first = stage.story()
    pause(stage)
    stage.wait_for_call()

    assert first == [HELD]
    assert [call.provider for call in stage.calls] == ["ses"]


def test_on_push_only_the_platforms_own_provider_holds() -> None:
    stage = push()
    stage.command("device.add", device_id="d2", platform="android", token="android-1")
    pause(stage, "fcm")
    stage.take(a_push(1))
    stage.take(a_send(2, channel="push", device_id="d2"))

    assert [call.provider for call in stage.calls] == ["apns"]
    assert stage.story(2) == [HELD]


def test_what_waited_for_a_slot_or_in_line_is_held_too() -> None:
    slots = FewSlots(twilio=1)
    stage = with_slots(slots)
    for number, user in enumerate(("u1", "u1", "u2", "u3"), 1):
        stage.take(a_send(number, user_id=user))
    pause(stage, "twilio")
    stage.wait(DRAIN_MS)

    assert called(stage) == [1]
    assert [stage.story(number) for number in (3, 4)] == [[HELD], [HELD]]
    stage.answer("ok")
    assert stage.story(2) == [HELD]
    assert stage.calls == []


def test_on_resume_slots_are_filled_in_the_order_of_acceptance_and_never_beyond_them() -> None:
    slots = FewSlots(twilio=0)
    stage = with_slots(slots)
    pause(stage, "twilio")
    for number, user in ((3, "u3"), (1, "u1"), (2, "u2")):
        stage.take(a_send(number, user_id=user))
    stage.take(a_send(4, user_id="u3", priority="critical"))
    pause(stage)
    order = []
    for _ in range(4):
        slots.free["twilio"] = 1
        stage.wait(2 * PAUSED_DRAIN_MS)
        assert len(stage.calls) == 1
        order += called(stage)
        stage.answer("ok")

    assert order == [4, 1, 2, 3]
    assert all(stage.story(number).count(HELD) == 1 for number in (1, 2, 3, 4))


def test_a_long_pause_writes_no_more_than_a_short_one() -> None:
    stage = sms()
    pause(stage, "twilio")
    for number in range(1, 21):
        stage.take(a_send(number))
    stage.wait(9 * HOUR)

    assert len(stage.events) == 20


def test_a_pause_outlives_the_process_and_so_does_what_it_holds() -> None:
    stage = sms()
    pause(stage, "twilio")
    stage.take(a_send())
    stage.crash()
    stage.wait(HOUR)
    assert stage.story() == [HELD]

    pause(stage)
    stage.wait(PAUSED_DRAIN_MS)
    assert called(stage) == [1]


ENDING = {
    "withdrawn": lambda stage: stage.take(Withdraw(send_id=a_send().send_id, user_id="u1", status="cancelled")),
    "cancelled": lambda stage: stage.command("notification.cancel", notification_id=a_send().notification_id),
    "erased": lambda stage: stage.command("user.erase"),
    "opted out": lambda stage: stage.command("preferences.set", preferences={"channels": {"sms": False}}),
    "suppressed": lambda stage: stage.command("suppression.add", None, channel="sms", address=PHONE, reason="stop"),
    "replaced": lambda stage: stage.take(a_send(2, collapse_key="k")),
    "expired": lambda stage: stage.wait(HOUR),
    "resumed": lambda stage: pause(stage),
}


@pytest.mark.parametrize("ending", ENDING.values(), ids=ENDING)
def test_whatever_ends_a_held_send_ends_it_once_and_leaves_nothing_behind(ending: Callable[[Stage], None]) -> None:
    stage = sms()
    pause(stage, "twilio")
    stage.take(a_send(collapse_key="k", expires_at=NOON + HOUR))
    ending(stage)
    stage.wait(MINUTE)
    pause(stage)
    stage.wait(MINUTE)
    stage.answer_all()
    stage.wait(PAUSED_DRAIN_MS)

    assert [status in ENDS for status, _ in stage.story()].count(True) == 1
    assert stage.rows_of("schedule") == stage.rows_of("pauses") == stage.rows_of("backlog") == {}


def test_what_was_held_in_the_night_waits_for_the_morning_first() -> None:
    stage = sms()
    pause(stage, "twilio")
    stage.take(a_send())
    stage.wait(11 * HOUR)
    pause(stage)
    stage.wait(MINUTE)
    assert stage.story() == [HELD, ("held", "quiet_hours")]

    stage.wait_for_call()
    assert stage.events[-1].occurred_at == rfc3339(NOON + 20 * HOUR)
    stage.answer_all()
    stage.wait(PAUSED_DRAIN_MS)
    assert stage.rows_of("pauses") == {}


def test_what_is_in_doubt_is_asked_after_and_only_its_resending_waits() -> None:
    stage = sms()
    stage.take(a_send(category="security", event_type="login.otp"))
    stage.answer("in_doubt", doubt="timeout")
    pause(stage, "twilio")
    stage.wait(6_000)

    assert [call.purpose for call in stage.calls] == ["ask"]
    while stage.story()[-1][0] == "in_doubt":
        for _ in [*stage.calls]:
            stage.answer(None)
        stage.wait(MINUTE)

    assert stage.story()[-1] == HELD
    assert stage.calls == []
    pause(stage)
    stage.wait(PAUSED_DRAIN_MS)
    assert [(call.purpose, call.provider) for call in stage.calls] == [("send", "twilio")]


def test_a_claim_whose_look_is_no_longer_fresh_is_held() -> None:
    stage = sms()
    stage.take(a_send())
    pause(stage, "twilio")
    stage.answer(None)

    assert stage.story() == [("sending", None), HELD]
    pause(stage)
    stage.wait(PAUSED_DRAIN_MS)
    assert stage.story()[2:] == [("sending", None)]


def test_what_waits_for_a_paused_provider_counts_as_waiting_for_it() -> None:
    stage = sms()
    pause(stage, "twilio")
    for number in (1, 2):
        stage.take(a_send(number))

    assert stage.machine.read("backlog", "", {}, stage.state, stage.now) == {"twilio": 2}


def test_an_unknown_provider_in_the_pauses_changes_nothing() -> None:
    """Of a later version, or of another channel."""
    stage = sms()
    pause(stage, "fcm")
    stage.take(a_send())

    assert called(stage) == [1]


@pytest.mark.parametrize("states", [*product(("works", "paused", "rests"), repeat=3)], ids=" ".join)
def test_the_first_in_order_that_is_not_paused_nor_resting_is_called(states: tuple[str, ...]) -> None:
    order: tuple[Provider, ...] = ("vonage", "twilio", "sns")
    by_name = dict(zip(order, states, strict=True))
    slots = FewSlots(**{name: None if state == "rests" else 1 for name, state in by_name.items()})
    catalog = a_catalog(providers={"sms": {"order": list(order)}})
    stage = Stage(SenderMachine(catalog, ChannelConfig("sms", dict.fromkeys(order, 15_000), slots=slots)))
    stage.command("profile.set", phone=PHONE, phone_verified=True, timezone="Europe/London")
    pause(stage, *(name for name, state in by_name.items() if state == "paused"))
    stage.take(a_send())
    able = [name for name in order if by_name[name] == "works"]

    assert [call.provider for call in stage.calls] == able[:1]
    assert stage.story() == ([("sending", None)] if able else [HELD])

    slots.free = dict.fromkeys(order, 1)
    pause(stage)
    if not stage.calls:
        stage.wait_for_call()
        assert [call.provider for call in stage.calls] == [order[0]]
