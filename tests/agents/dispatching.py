"""Senders whose slots are given by hand, for tests of when a call is claimed."""

from typing import Any

from agents.sender.context import ChannelConfig, Slots
from agents.sender.machine import SenderMachine
from app.domain.outcome import AT_CAPACITY, CIRCUIT_OPEN, WARMING_UP, Outcome
from schemas.words import Provider
from tests.agents.senders import PHONE
from tests.agents.stage import Stage, a_catalog

TIMEOUT_MS = 15_000


class FewSlots:
    """So many slots of each provider, given back by hand; None: it rests, for as long as ``open_for_ms`` says. Those
    in ``warming_up`` have slots only for what is urgent or doesn't wait for a plan."""

    def __init__(self, **free: int | None) -> None:
        self.free: dict[str, int | None] = dict(free)
        self.open_for_ms: int | None = None
        self.warming_up: set[Provider] = set()
        self.wait_ms: int | None = None

    def take(
        self, provider: Provider, claim: tuple[bytes, int], *, urgent: bool, bulk: bool = False, planned: bool = True
    ) -> Outcome | None:
        free = self.free[provider]
        if free is None:
            return Outcome("throttle", code=CIRCUIT_OPEN, retry_after_ms=1_000, open_for_ms=self.open_for_ms)
        if provider in self.warming_up and planned and not urgent:
            return Outcome("throttle", code=WARMING_UP, retry_after_ms=self.wait_ms)
        if not free:
            return Outcome("throttle", code=AT_CAPACITY, retry_after_ms=self.wait_ms)
        self.free[provider] = free - 1
        return None


def with_slots(slots: Slots, channel: Any = "sms", providers: tuple[Any, ...] = ("twilio",), **policy: Any) -> Stage:
    channel_config = ChannelConfig(channel, dict.fromkeys(providers, TIMEOUT_MS), slots=slots)
    stage = Stage(SenderMachine(a_catalog(**policy), channel_config))
    for user in ("u1", "u2", "u3"):
        stage.command("profile.set", user, phone=PHONE[:-1] + user[1], phone_verified=True, timezone="Europe/London")
        stage.command("device.add", user, device_id="d1", platform="ios", token=user[1] * 64)
        stage.command("device.add", user, device_id="d2", platform="android", token="android-" + user)
    return stage


def called(stage: Stage) -> list[int]:
    """The numbers of the sends whose calls are under way."""
    return [int(call.handle.send_id[-12:-4], 16) for call in stage.calls]


def answer_questions(stage: Stage) -> None:
    """Nothing is found of what is in doubt."""
    for call in [call for call in stage.calls if call.purpose == "ask"]:
        stage.answer(None, call)


def let_pass(stage: Stage, ms: int) -> None:
    """Time passes, and questions are answered meanwhile."""
    end = stage.now + ms
    while stage.now < end:
        due = stage.next_due()
        stage.wait(max(0, min(end, end if due is None else due) - stage.now))
        answer_questions(stage)


def reported(stage: Stage, *numbers: int) -> list[list[tuple[str, str | None]]]:
    return [stage.story(number) for number in numbers]
