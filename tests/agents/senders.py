"""Senders in virtual time: one of each channel, with the user to whom it sends."""

from collections.abc import Callable, Sequence
from typing import Any

from agents.sender.context import ChannelConfig
from agents.sender.machine import SenderMachine
from schemas.sends import Send
from schemas.words import Provider
from tests.agents.stage import Stage, a_catalog, a_send

PHONE = "+442071838750"


def sms(providers: Sequence[Provider] = ("twilio",), **policy: Any) -> Stage:
    stage = Stage(SenderMachine(a_catalog(**policy), ChannelConfig("sms", dict.fromkeys(providers, 15_000))))
    stage.command("profile.set", phone=PHONE, phone_verified=True, timezone="Europe/London")
    return stage


def push(providers: Sequence[Provider] = ("apns", "fcm")) -> Stage:
    stage = Stage(SenderMachine(a_catalog(), ChannelConfig("push", dict.fromkeys(providers, 15_000))))
    stage.command("profile.set", timezone="Europe/London")
    stage.command("device.add", device_id="d1", platform="ios", token="ab" * 32)
    return stage


def email(unsubscribe_url: Callable[[Send], str | None] | None = None) -> Stage:
    stage = Stage(SenderMachine(a_catalog(), ChannelConfig("email", {"ses": 15_000}, unsubscribe_url=unsubscribe_url)))
    stage.command("profile.set", email="ada@example.com")
    return stage


def a_push(number: int = 1, **changes: Any) -> Send:
    return a_send(number, channel="push", device_id="d1", **changes)
