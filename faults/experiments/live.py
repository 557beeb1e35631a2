"""Live inboxes: whoever is killed, what connected clients saw is the inbox, in order and each change once."""

import asyncio
import time

import aiohttp
import jwt

from faults.live import LiveClient, following
from faults.scene import Experiment, Scene
from faults.system import ALL_IN_FLIGHT

_USERS, _STREAMS = 3, 2
#: To each user, before and after each kill.
_ITEMS = 3
_AGREED_S = 120.0


async def _kill_what_is_followed(scene: Scene) -> None:
    users = [await scene.load.newcomer() for _ in range(_USERS)]
    victims = ("in_app", "gateway") if scene.short else ("in_app", "gateway", "kafka") * 2
    state, sent = scene.system.dev.state, 0

    async def send() -> None:
        nonlocal sent
        for _ in range(_ITEMS):
            sent += 1
            content = {"title": f"No. {sent}", "body": "Of a live inbox."}  # (the same twice would be one)
            await asyncio.gather(*(scene.load.ask(user, content=content) for user in users))

    async with aiohttp.ClientSession() as http:
        clients = [
            LiveClient(http, [state.gateway_url], user, _token(state.jwt_secret, user))
            for user in users
            for _ in range(_STREAMS)
        ]
        async with following(*clients):
            for victim in victims:
                await send()
                await asyncio.gather(*(client.post("/read-all") for client in clients[::_STREAMS]))
                if victim == "kafka":
                    scene.record.inject("broker_killed", in_flight=ALL_IN_FLIGHT)
                scene.say(f"kills {victim}")
                scene.system.kill(victim)
                await send()
                await scene.system.ready()
            differ = await _differing(clients, sent)
    told_wrong = [words for client in clients for words in client.wrong]
    scene.extra["live"] = {
        "clients": len(clients),
        "items": sent,
        "events": sum(len(client.events) for client in clients),
        "wrong": told_wrong[:10],
        "differ": [client.user_id for client in differ],
    }
    means = "clients whose live inbox isn't the inbox, and events that came twice or out of order"
    scene.found("LIVE", means, len(differ) + len(told_wrong))


async def _differing(clients: list[LiveClient], items: int) -> list[LiveClient]:
    """Those that don't agree with the inbox in time."""
    left, until = clients, time.monotonic() + _AGREED_S
    while left and time.monotonic() < until:
        left = [client for client in left if not await client.agrees(items)]
        await asyncio.sleep(0.2)
    return left


def _token(secret: str, user_id: str) -> str:
    return jwt.encode({"sub": user_id, "exp": int(time.time()) + 3600}, secret, algorithm="HS256")


EXPERIMENTS = (
    Experiment(
        "live",
        "kill -9 of inbox, gateway and broker while clients follow live inboxes.",
        _kill_what_is_followed,
    ),
)
