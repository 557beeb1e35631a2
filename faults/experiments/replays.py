"""An outage that outlasts what waits for its end, and the replays that follow it, whoever dies meanwhile."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from faults.operator import LIMIT_S, POLL_S, Operator
from faults.record import unix_ms
from faults.scene import Experiment, Scene
from schemas.instants import rfc3339

#: Of those who are waiting for a push, who opts out of it before the provider is back.
_OPTS_OUT = 0.1
#: Whom a replay needs to go on: the gateway runs it, the router decides, the role sends.
_VICTIMS = ("gateway", "router", "push")
_ENDS = frozenset(("sent", "suppressed", "failed", "expired", "cancelled", "aggregated", "unknown"))


@dataclass(frozen=True, slots=True)
class _Sizes:
    people: int
    #: Of the provider, half of it with answers, half without any.
    outage_s: float
    #: In which a push must be out, so that the outage outlasts it.
    expires_s: float
    rate: str


_SHORT = _Sizes(people=24, outage_s=8.0, expires_s=6.0, rate="6/s")
_LONG = _Sizes(people=300, outage_s=300.0, expires_s=60.0, rate="10/s")


async def _replay_after_an_outage(scene: Scene) -> None:
    sizes = _SHORT if scene.short else _LONG
    await scene.system.heal_provider()
    since = unix_ms()
    people = [await scene.load.newcomer() for _ in range(sizes.people)]
    names = await _through_an_outage(scene, sizes, people)
    await _until_ended(scene, names)
    chosen = {"channel": "push", "from": rfc3339(since), "to": rfc3339(unix_ms()), "expires_after": "1h"}
    async with _Operator(scene) as operator:
        await operator.run({**chosen, "dry_run": True})
        first, second = await asyncio.gather(*(operator.begin({**chosen, "rate": sizes.rate}) for _ in range(2)))
        await operator.call("POST", f"/v1/replays/{first}/stop")
        await _kill_each(scene)
        await operator.call("POST", f"/v1/replays/{first}/resume")
        receipts = [await operator.ended(each) for each in (first, second)]
        last = await operator.ended(await operator.begin({**chosen, "rate": "50/s"}))
        listed = [await operator.candidates(each) for each in (first, second)]
    _judge(scene, receipts, last, listed)
    scene.found("SUMS", "receipts that didn't add up at some moment", operator.unbalanced)


async def _through_an_outage(scene: Scene, sizes: _Sizes, people: list[str]) -> list[str]:
    """Both providers of the channel are away, so that nobody takes over. Returns the notifications' ids."""
    began_ms, names = unix_ms(), []
    for action in ("error", "hang"):
        faults = [
            await scene.system.break_provider(
                provider=provider, action=action, **({"code": "503"} if action == "error" else {})
            )
            for provider in ("apns", "fcm")
        ]
        for user in people[::2] if action == "error" else people[1::2]:
            expires_at = rfc3339(unix_ms() + round(sizes.expires_s * 1000))
            names.append(await scene.load.ask(user, channels=["push"], expires_at=expires_at))
            if scene.random.random() < _OPTS_OUT:
                refusal = {"preferences": {"channels": {"push": False}}}
                await scene.load.command("preferences.patch", user, refusal)
        await asyncio.sleep(sizes.outage_s / 2)
        for fault_id in faults:
            await scene.system.heal_provider(fault_id)
    scene.record.inject("outage", at_ms=began_ms, until_ms=unix_ms(), note="apns and fcm")
    return names


async def _until_ended(scene: Scene, names: Iterable[str]) -> None:
    wanted = set(names)

    def all_ended() -> bool:
        return wanted <= {each["notification_id"] for each in scene.observer.events if each["status"] in _ENDS}

    if not await scene.system.until(all_ended, LIMIT_S):
        raise TimeoutError("what was asked for in the outage didn't end")


async def _kill_each(scene: Scene) -> None:
    """One after the other, with the replays under way."""
    for name in scene.random.sample(_VICTIMS, len(_VICTIMS)):
        await scene.pause(0.2, 1.5)
        scene.system.kill(name)
        await scene.pause(0.2, 1.5)
    await scene.system.ready(_VICTIMS)


def _judge(scene: Scene, receipts: list[Mapping[str, Any]], last: Mapping[str, Any], listed: list[list[Any]]) -> None:
    twice = sum(len(each) - len({one["send_id"] for one in each}) for each in listed)
    scene.found("CANDIDATES", "candidates that a receipt lists more than once", twice)
    missing = sum(abs(len(each) - receipt["candidates"]) for each, receipt in zip(listed, receipts, strict=True))
    scene.found("LISTED", "candidates that a receipt counts and doesn't list, or the reverse", missing)
    sent = [one["send_id"] for each in listed for one in each if one["outcome"] == "sent"]
    scene.found("SENT_BY_BOTH", "candidates that two replays say they sent", len(sent) - len(set(sent)))
    scene.found("SENT_AGAIN", "sends of one more replay of what was replayed already", last["outcomes"]["sent"])
    scene.found("IDLE", "1 if no replay sent anything", int(not sent))
    scene.extra["replays"] = [{key: each[key] for key in ("candidates", "outcomes")} for each in (*receipts, last)]


class _Operator(Operator):
    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.system, "admin")
        self.unbalanced = 0

    async def begin(self, asked: Mapping[str, Any]) -> str:
        return str((await self.call("POST", "/v1/replays", asked))["replay_id"])

    async def run(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self.ended(await self.begin(asked))

    async def ended(self, replay_id: str) -> Mapping[str, Any]:
        """Its receipt once it is done; each one on the way must add up."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                receipt: Mapping[str, Any] = await self.call("GET", f"/v1/replays/{replay_id}")
                for tally in (receipt["dry_run"], receipt["outcomes"]):
                    self.unbalanced += sum(tally.values()) != receipt["candidates"]
                if receipt["status"] == "done" and not receipt["outcomes"]["waiting"]:
                    return receipt
                await asyncio.sleep(POLL_S)

    async def candidates(self, replay_id: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        cursor = ""
        while True:
            page = await self.call("GET", f"/v1/replays/{replay_id}/candidates?limit=100{cursor}")
            found += page["candidates"]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"


EXPERIMENTS = (
    Experiment(
        "replay",
        "APNs and FCM are away for longer than pushes wait; then two replays at once, one stopped and resumed, with "
        "kill -9 of gateway, router and push role; then a third.",
        _replay_after_an_outage,
    ),
)
