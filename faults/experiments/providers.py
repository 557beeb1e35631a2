"""Providers that take a message and don't say so, that are away, and that say that every phone is gone."""

import asyncio

from faults.record import unix_ms
from faults.scene import Experiment, Scene

#: Of the calls, whose answers are lost.
_LOST = 0.1


async def _accept_then_reset(scene: Scene) -> None:
    await _for_a_while(scene, "accept_and_reset")


async def _accept_then_hang(scene: Scene) -> None:
    await _for_a_while(scene, "accept_and_hang")


async def _for_a_while(scene: Scene, action: str) -> None:
    began_ms = unix_ms()
    await scene.system.break_provider(provider="*", action=action, fraction=_LOST, seed=scene.random.randrange(1 << 30))
    await scene.more(0.8)
    await scene.system.heal_provider()
    scene.record.inject(action, at_ms=began_ms, until_ms=unix_ms(), note=f"{_LOST:.0%} of all calls")
    await scene.more(0.2)


async def _outage(scene: Scene) -> None:
    """503 of every provider, then of one, with its proxy's page or in its own words."""
    for provider, code in (("*", "503"), (scene.random.choice(("apns", "fcm", "ses", "twilio")), None)):
        await scene.pause(0.3, 1.0)
        began_ms = unix_ms()
        fault = {"provider": provider, "action": "error"} | ({"code": code} if code else {})
        await scene.system.heal_provider()  # the first of several acts, and this is to befall all
        fault_id = await scene.system.break_provider(**fault)
        await asyncio.sleep(3.0 if scene.short else 15.0)
        await scene.system.heal_provider(fault_id)
        scene.record.inject("outage", at_ms=began_ms, until_ms=unix_ms(), note=f"{provider} {code or ''}".strip())


async def _dead_tokens(scene: Scene) -> None:
    """Every token is said to be unregistered. The lane rests before all of them are believed."""
    await scene.system.heal_provider()
    began_ms = unix_ms()
    fault_id = await scene.system.break_provider(provider="apns", action="error", code="Unregistered")
    await scene.more(0.5)
    await scene.system.heal_provider(fault_id)
    scene.record.inject("dead_tokens", at_ms=began_ms, until_ms=unix_ms(), note="410 of APNs for every token")
    await scene.more(0.5)


async def _the_lane_lives(scene: Scene) -> None:
    """Refused are as many as it takes to suspect the settings, and those on their way meanwhile."""
    refused = sum(event["reason"] == "invalid_token" for event in scene.observer.events)
    scene.found("BELIEVED", "tokens that were given up before the lane was suspected", refused, 50 + 200)
    scene.extra["invalid_token"] = refused


EXPERIMENTS = (
    Experiment(
        "accept_then_reset", "Every tenth provider call is accepted and its connection reset.", _accept_then_reset
    ),
    Experiment("accept_then_hang", "Every tenth provider call is accepted and never answered.", _accept_then_hang),
    Experiment("outage", "All providers answer 503 for a while, then one of them.", _outage),
    Experiment(
        "dead_tokens",
        "APNs says of every token that it is gone, then works again.",
        _dead_tokens,
        after=_the_lane_lives,
    ),
)
