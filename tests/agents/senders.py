"""Senders in virtual time: one of each channel, with the user to whom it sends."""

from collections.abc import Sequence
from typing import Any

from agents.sender.context import ChannelConfig
from agents.sender.machine import SenderMachine
from app.domain.catalog import Catalog
from app.domain.links import Links, Tokens
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


LINKS = Links("https://n.example", Tokens(["the signing key of these tests"]))


def email(links: Links | None = LINKS, *, catalog: Catalog | None = None, postal_address: str = "") -> Stage:
    config = ChannelConfig("email", {"ses": 15_000}, links=links, postal_address=postal_address)
    stage = Stage(SenderMachine(catalog or a_catalog(), config))
    stage.command("profile.set", email="ada@example.com")
    return stage


def a_push(number: int = 1, **changes: Any) -> Send:
    return a_send(number, channel="push", device_id="d1", **changes)
