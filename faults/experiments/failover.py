"""Two providers for mail and two for SMS: one is away, hangs or loses answers, what is reported goes astray, and their
senders are killed. What may have been accepted by one is never given to the other."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from faults.policy import POLICY
from faults.record import unix_ms
from faults.scene import Experiment, Scene
from schemas.instants import parse_ms

_FIRST = ("ses", "twilio")
_SECOND = {"sendgrid": "email", "vonage": "sms"}
_ORDER: Mapping[str, Any] = {
    **POLICY["providers"],
    "email": {"order": ["ses", "sendgrid"]},
    "sms": {"order": ["twilio", "vonage"]},
}
_KEPT = "channels of which the second provider got nothing"
#: A circuit opens after ten failures; in the short form there are few calls, beside other tests.
_TAKEN_OVER_WITHIN_S, _POLL_S = 120.0, 0.2
#: Of all answers.
_LOST = 0.01
#: What is reported of mail and SMS meanwhile: a tenth never, a fifth twice, all in disorder.
_REPORTED = {"min_delay_ms": 50, "max_delay_ms": 500, "lose": 0.1, "repeat": 0.2, "disorder": True}


async def _with_two(scene: Scene) -> None:
    await scene.system.put_policy({**POLICY, "providers": _ORDER})
    await scene.system.report_callbacks({**_REPORTED, "seed": scene.random.randrange(1 << 30)})


async def _away(scene: Scene) -> None:
    await _with_two(scene)
    began_ms = unix_ms()
    faults = [await scene.system.break_provider(provider=each, action="error") for each in _FIRST]
    await scene.more(0.6)
    for fault in faults:
        await scene.system.heal_provider(fault)
    healed_ms = unix_ms()
    scene.record.inject("outage", at_ms=began_ms, until_ms=healed_ms, note="SES and Twilio")
    scene.extra["failover_outage_ms"] = [began_ms, healed_ms]
    await scene.more(0.4)


async def _hanging(scene: Scene) -> None:
    """A few requests are never answered, accepted or not."""
    await _with_two(scene)
    began_ms = unix_ms()
    for provider in _FIRST:
        for action in ("hang", "accept_and_hang"):
            seed = scene.random.randrange(1 << 30)
            await scene.system.break_provider(provider=provider, action=action, fraction=0.1, seed=seed)
    await scene.more(0.6)
    await scene.system.heal_provider()
    scene.record.inject(
        "accept_and_hang", at_ms=began_ms, until_ms=unix_ms(), note="a fifth of SES's and Twilio's calls"
    )
    await scene.more(0.4)


async def _losing(scene: Scene) -> None:
    await _with_two(scene)
    await scene.system.heal_provider()  # the first of several acts, and this is to befall all
    began_ms = unix_ms()
    for provider in (*_FIRST, *_SECOND):
        seed, lost = scene.random.randrange(1 << 30), 5 * _LOST if scene.short else _LOST
        await scene.system.break_provider(provider=provider, action="accept_and_reset", fraction=lost, seed=seed)
    await scene.more(1.0)
    await scene.system.heal_provider()
    scene.record.inject("accept_and_reset", at_ms=began_ms, until_ms=unix_ms(), note="of mail and SMS")


async def _killed(scene: Scene) -> None:
    """While the first providers are away and the second ones take what they had: the kills begin when they do."""
    await _with_two(scene)
    began_ms = unix_ms()
    faults = [await scene.system.break_provider(provider=each, action="error") for each in _FIRST]
    scene.found("KEPT", _KEPT, await _kept(scene))
    for _ in range(1 if scene.short else 5):
        for name in ("email", "sms"):
            await scene.pause(0.3, 1.5)
            await scene.system.until(lambda name=name: scene.system.is_alive(name), 60.0)  # type: ignore[misc]
            scene.system.kill(name)
    for fault in faults:
        await scene.system.heal_provider(fault)
    scene.record.inject("outage", at_ms=began_ms, until_ms=unix_ms(), note="SES and Twilio, their senders killed")
    await scene.system.ready()


async def _kept(scene: Scene) -> int:
    """Waits until each second provider has accepted something, and returns how many haven't."""
    ends_at = asyncio.get_running_loop().time() + _TAKEN_OVER_WITHIN_S
    while missing := len(_SECOND) - len(_second_of(await asyncio.to_thread(_taken, scene))):
        if asyncio.get_running_loop().time() > ends_at:
            break
        await asyncio.sleep(_POLL_S)
    return missing


async def _as_before(scene: Scene) -> None:
    await scene.system.report_callbacks(None)
    await scene.system.put_policy(POLICY)


async def _each_had_one(scene: Scene) -> None:
    """Judges all that was accepted, whichever of the acts it was in."""
    taken = await asyncio.to_thread(_taken, scene)
    crossed = sum(len({each["provider"] for each in copies}) > 1 for copies in taken.values())
    scene.found("CROSSED", "sends that two providers accepted", crossed)
    await _as_before(scene)


async def _was_handed_over(scene: Scene) -> None:
    taken = await asyncio.to_thread(_taken, scene)
    scene.found("KEPT", _KEPT, len(_SECOND) - len(_second_of(taken)))
    began_ms, healed_ms = scene.extra["failover_outage_ms"]
    waits = sorted(_waits(scene.observer.events, taken, began_ms, healed_ms))
    if waits:
        scene.extra["critical_handed_over_ms"] = {"count": len(waits), "p50": waits[len(waits) // 2], "max": waits[-1]}
    await _each_had_one(scene)


def _waits(
    events: Iterable[Mapping[str, Any]], taken: Mapping[str, list[Mapping[str, Any]]], began_ms: int, healed_ms: int
) -> Iterable[int]:
    """How long each critical send took from its first call in the outage to the second provider's acceptance."""
    first: dict[str, int] = {}
    for event in events:
        if event["status"] == "sending" and event["priority"] == "critical":
            first.setdefault(event["send_id"], parse_ms(event["occurred_at"]))
    for send_id, at_ms in first.items():
        accepted = [each["at_ms"] for each in taken.get(send_id, ()) if each["provider"] in _SECOND]
        if accepted and began_ms <= at_ms < healed_ms:
            yield max(0, accepted[0] - at_ms)


def _second_of(taken: Mapping[str, list[Mapping[str, Any]]]) -> set[str]:
    return {each["provider"] for copies in taken.values() for each in copies} & _SECOND.keys()


def _taken(scene: Scene) -> dict[str, list[Mapping[str, Any]]]:
    """By send, what mail and SMS providers accepted since the experiment began."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in (scene.system.sandbox_folder / "accepted.jsonl").read_bytes().splitlines():
        each = json.loads(line)
        if each["provider"] in (*_FIRST, *_SECOND) and each["at_ms"] >= scene.record.started_ms and each.get("send_id"):
            found[each["send_id"]].append(each)
    return found


EXPERIMENTS = (
    Experiment(
        "failover_outage",
        "SES and Twilio are away, SendGrid and Vonage take over; then they are back.",
        _away,
        after=_was_handed_over,
    ),
    Experiment(
        "failover_hang",
        "A fifth of SES's and Twilio's calls hang, half of them accepted.",
        _hanging,
        after=_each_had_one,
    ),
    Experiment(
        "failover_lost",
        "One in a hundred answers of four providers is lost, and so are reports, repeated and in disorder.",
        _losing,
        after=_each_had_one,
    ),
    Experiment(
        "failover_killed", "The senders are killed while the second providers take over.", _killed, after=_each_had_one
    ),
)
