"""Members of a role's group: one that is frozen and comes back as a zombie, and a storm of joining and leaving."""

import asyncio
import signal

from faults.record import unix_ms
from faults.scene import Experiment, Scene
from faults.system import in_flight

#: Longer than the session timeout (10 s), after which the group gives a member's partitions away.
_FROZEN_S = 16.0


async def _zombies(scene: Scene) -> None:
    roles = [scene.random.choice(("push", "email", "sms"))] if scene.short else ["router", "push"]
    seconds = [f"{role}-2" for role in roles]
    for name in seconds:
        scene.system.start(name)
    await scene.system.ready(seconds)
    for role in roles:
        await scene.pause(0.5, 2.0)
        scene.say(f"freezes {role}")
        frozen_ms = unix_ms()
        scene.system.signal(role, signal.SIGSTOP)
        await asyncio.sleep(_FROZEN_S)
        scene.system.signal(role, signal.SIGCONT)
        scene.record.inject(
            "stopped", role=role, instance=1, in_flight=in_flight(role), at_ms=frozen_ms, until_ms=unix_ms()
        )
    await scene.pause(2.0, 4.0)
    await asyncio.gather(*(scene.system.stop(name) for name in seconds))


async def _storm(scene: Scene) -> None:
    rounds = 3 if scene.short else 10
    guests: set[str] = set()
    for _ in range(rounds):
        name = f"{scene.random.choice(('router', 'push', 'sms', 'in_app'))}-2"
        if name in guests:
            guests.discard(name)
            await scene.system.stop(name, by_kill=scene.random.random() < 0.5)
            scene.record.inject("left", role=name.partition("-")[0], instance=2)
        else:
            guests.add(name)
            scene.system.start(name)
            scene.record.inject("joined", role=name.partition("-")[0], instance=2)
        await scene.pause(1.5, 4.5)
    await asyncio.gather(*(scene.system.stop(name) for name in guests))


EXPERIMENTS = (
    Experiment(
        "zombies",
        "SIGSTOP of one of two workers for longer than its session, then SIGCONT: a zombie that may call nobody.",
        _zombies,
    ),
    Experiment("rebalances", "Second workers join and leave every few seconds, politely or killed.", _storm),
)
