"""Kafka itself: killed, away for a minute, slow, and cut off from some."""

import asyncio

from app.wiring import KEEPING
from faults.record import unix_ms
from faults.scene import Experiment, Scene
from faults.system import ALL_IN_FLIGHT, in_flight


async def _kill_broker(scene: Scene) -> None:
    for _ in range(1 if scene.short else 3):
        await scene.pause(0.5, 2.0)
        await scene.system.ready(["kafka"])
        scene.record.inject("broker_killed", in_flight=ALL_IN_FLIGHT)
        scene.system.kill("kafka")
        await scene.pause(0.5, 6.0)
    await scene.system.ready(["kafka"])


async def _broker_away(scene: Scene) -> None:
    away_s = 6.0 if scene.short else 60.0
    await scene.more(0.2)
    began_ms = unix_ms()
    await scene.system.stop("kafka", by_kill=True)
    await asyncio.sleep(away_s)
    scene.system.start("kafka")
    await scene.system.ready(["kafka"])
    scene.record.inject("broker_away", in_flight=ALL_IN_FLIGHT, at_ms=began_ms, until_ms=unix_ms())


async def _slow_broker(scene: Scene) -> None:
    names = ["router", "push"] if scene.short else list(KEEPING)
    await scene.system.restart(names, scene.system.detour())
    latency_ms = scene.random.randint(100, 300)
    began_ms = unix_ms()
    scene.system.wire.slow(latency_ms=latency_ms)
    await asyncio.sleep(4.0 if scene.short else 15.0)
    await scene.system.wire.heal()
    scene.record.inject("broker_slow", at_ms=began_ms, until_ms=unix_ms(), note=f"{latency_ms} ms each way")
    await scene.system.restart(names)


async def _link_cut(scene: Scene) -> None:
    names = [scene.random.choice(("push", "sms"))] if scene.short else ["router", "push", "email", "in_app"]
    await scene.system.restart(names, scene.system.detour())
    for number in range(1 if scene.short else 2):
        await scene.pause(0.5, 2.0)
        began_ms = unix_ms()
        await (scene.system.wire.cut() if number % 2 == 0 else _freeze(scene))
        await scene.pause(*((3.0, 5.0) if scene.short else (5.0, 20.0)))
        await scene.system.wire.heal()
        for name in names:
            scene.record.inject(
                "link_cut", role=name, instance=1, in_flight=in_flight(name), at_ms=began_ms, until_ms=unix_ms()
            )
        await scene.system.ready(names)
    await scene.system.restart(names)


async def _freeze(scene: Scene) -> None:
    """Connections stay, and nothing passes: nobody is told, as when a cable is pulled."""
    scene.system.wire.freeze()


EXPERIMENTS = (
    Experiment("broker_killed", "kill -9 of the broker, several times; it is started again at once.", _kill_broker),
    Experiment("broker_away", "kill -9 of the broker, and none for 60 s (short form: 6 s).", _broker_away),
    Experiment("broker_slow", "What workers and broker say to each other comes 100 to 300 ms late.", _slow_broker),
    Experiment(
        "link_cut", "The link between some workers and the broker is cut: reset and refused, or silent.", _link_cut
    ),
)
