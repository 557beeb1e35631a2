"""A provider that is paused by hand, as operators, services and phones see it."""

import json
import os
import signal
from typing import Any

import pytest

from tests.conftest import eventually
from tests.e2e.rules.world import LIMIT_S, World

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def state_of(world: World, provider: str) -> dict[str, Any]:
    providers: list[dict[str, Any]] = json.loads(await world.tocsin("provider", "list", "--json"))
    return next(each for each in providers if each["provider"] == provider)


async def becomes(world: World, provider: str, *states: str) -> dict[str, Any]:
    async def so_it_is() -> bool:
        return (await state_of(world, provider))["state"] in states

    await eventually(so_it_is, LIMIT_S)
    return await state_of(world, provider)


async def test_nobody_calls_a_paused_provider_until_it_is_resumed(world: World) -> None:
    ann = await world.person("android", "ios")
    await world.tocsin("provider", "pause", "fcm", "--why", "ticket 4711")
    assert (await becomes(world, "fcm", "paused"))["why"] == "ticket 4711"

    told = await world.ask(ann, "order.shipped", channels=["push"])
    code = await world.ask(ann, "order.shipped", channels=["push"], priority="critical", source="auth")
    for notification in (told, code):
        held = await world.becomes(notification, "push", "held", "provider_outage")
        assert held["detail"]["until"]
    await world.until(lambda: all(("push", "sent") in _ends(world, name) for name in (told, code)))  # to the iPhone
    pid = world.system.processes["push"].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    async def is_back() -> bool:
        return world.system.processes["push"].pid not in (None, 0, pid)

    await eventually(is_back, LIMIT_S)
    await becomes(world, "fcm", "paused")
    late = await world.ask(ann, "order.shipped", channels=["push"])
    await world.becomes(late, "push", "held", "provider_outage")
    assert [m["provider"] for name in (told, code, late) for m in await world.shown(name)].count("fcm") == 0
    why = await world.tocsin("why", told, "--user", ann.user_id)
    assert "ticket 4711" in why

    await world.tocsin("provider", "resume", "fcm")
    await becomes(world, "fcm", "recovering", "closed")
    for name in (told, code, late):
        await world.until(lambda name=name: _ends(world, name).count(("push", "sent")) == 2)  # type: ignore[misc]
        shown = [message["provider"] for message in await world.shown(name)]
        assert sorted(shown) == ["apns", "fcm"]


def _ends(world: World, notification: str) -> list[tuple[str, str]]:
    return [("push", event["status"]) for event in world.told(notification, "push") if event["status"] == "sent"]
