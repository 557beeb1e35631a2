"""Campaigns: uploaded, uploaded again, paused and called off, whoever dies meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psutil

from app.dev.ports import free_port
from faults.operator import LIMIT_S, POLL_S, Operator
from faults.policy import SLACK_MS
from faults.record import unix_ms
from faults.scene import Experiment, Scene
from faults.system import ALL_IN_FLIGHT

_SOURCE = "demo"
#: Runs campaigns when the first is killed, or before.
_SECOND = "gateway-2"
_LETTERS = {"title": "Its own", "body": "Of a campaign."}
#: Rows that are uploaded at a time.
_ROWS = 20


@dataclass(frozen=True, slots=True)
class _Sizes:
    """``known``: users with addresses and devices, of ``users``. ``upload_s``: how long their upload takes.
    ``called_off_rate``: of the one that is cancelled, which would go on for longer than the allowance. ``hold_s``: how
    long a pause lasts. ``allowance_ms``: see ``faults.checker.values.Campaign``; in the short form a pause, which is
    shorter, shows only that nothing is lost by it."""

    known: int
    users: int
    upload_s: float
    rate: str
    called_off_rate: str
    pauses: int
    hold_s: tuple[float, float]
    allowance_ms: int


_SHORT = _Sizes(12, 200, 2.0, "25/s", "4/s", 1, (0.5, 1.5), 15_000)
_LONG = _Sizes(100, 3_000, 10.0, "40/s", "40/s", 4, (SLACK_MS / 1000 + 3, SLACK_MS / 1000 + 6), SLACK_MS)


@dataclass(slots=True)
class _Campaign:
    """One of the experiment's, and what was done to it. ``name``: its campaign_id."""

    name: str
    users: Sequence[str]
    notification_id: str = ""
    holds: list[tuple[int, int | None]] = field(default_factory=list)


async def _campaigns_and_deaths(scene: Scene) -> None:
    sizes = _SHORT if scene.short else _LONG
    users = await _everybody(scene, sizes)
    run = f"{scene.load.users[0]}-campaign"
    uploaded, paused, cancelled = (_Campaign(f"{run}-{word}", users) for word in ("twice", "paused", "cancelled"))
    scene.system.start(_SECOND, {"TOCSIN_GATEWAY__PORT": str(free_port())})
    async with Operator(scene.system, _SOURCE) as service:
        asker = _Asker(scene, sizes, service)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_break(scene))
            tasks.create_task(asker.twice(uploaded))
            tasks.create_task(asker.with_pauses(paused))
            tasks.create_task(asker.called_off(cancelled))
    await scene.system.stop(_SECOND)
    scene.extra["campaigns"] = asker.shown


async def _everybody(scene: Scene, sizes: _Sizes) -> list[str]:
    known = [await scene.load.newcomer() for _ in range(sizes.known)]
    strangers = [f"{known[0]}-nobody-{number}" for number in range(sizes.users - sizes.known)]
    users = [*known, *strangers]
    scene.random.shuffle(users)
    return users


class _Asker:
    """What a service asks of campaigns."""

    def __init__(self, scene: Scene, sizes: _Sizes, service: Operator) -> None:
        self._scene = scene
        self._sizes = sizes
        self._service = service
        self.shown: dict[str, Mapping[str, Any]] = {}

    async def twice(self, campaign: _Campaign) -> None:
        """The same upload two times at once, one with its rows the other way round."""
        await asyncio.gather(self._upload(campaign, campaign.users), self._upload(campaign, campaign.users[::-1]))
        await self._end(campaign)

    async def with_pauses(self, campaign: _Campaign) -> None:
        await self._upload(campaign, campaign.users)
        for _ in range(self._sizes.pauses):
            await self._scene.pause(0.3, 2.0)
            if not await self._act(campaign, "POST", "/pause"):
                break
            held_ms = unix_ms()
            await self._scene.pause(*self._sizes.hold_s)
            campaign.holds.append((held_ms, unix_ms()))
            await self._act(campaign, "POST", "/resume")
        await self._end(campaign)

    async def called_off(self, campaign: _Campaign) -> None:
        await self._upload(campaign, campaign.users, self._sizes.called_off_rate)
        while not (await self._show(campaign))["produced"]:
            await asyncio.sleep(POLL_S)
        await self._scene.pause(0.1, 1.5)
        if await self._act(campaign, "DELETE", ""):
            cancel = {"type": "notification.cancel", "notification_id": campaign.notification_id, "source": _SOURCE}
            self._scene.record.command(unix_ms(), cancel)
            campaign.holds.append((unix_ms(), None))
        await self._end(campaign)

    async def _upload(self, campaign: _Campaign, users: Sequence[str], rate: str | None = None) -> None:
        terms = {
            "campaign_id": campaign.name,
            "event_type": "order.shipped",
            "content": msgspec.json.encode(_LETTERS).decode(),
            "channels": "push,in_app",
            "rate": rate or self._sizes.rate,
        }
        status, said = await self._service.ask(
            "POST",
            "/v1/campaigns",
            body=lambda: _rows(users, self._sizes.upload_s),
            params=terms,
            headers={"Content-Type": "application/x-ndjson"},
        )
        if status != 202:
            raise RuntimeError(f"{campaign.name} was refused: {status}: {said}")
        campaign.notification_id = said["notification_id"]

    async def _act(self, campaign: _Campaign, method: str, path: str) -> bool:
        """False: it had ended. (One that is asked for again, as no answer came, may find what came of itself.)"""
        status, said = await self._service.ask(method, f"/v1/campaigns/{campaign.name}{path}")
        if status not in (202, 409):
            raise RuntimeError(f"{method} {campaign.name}{path}: {status}: {said}")
        return status == 202 or (method == "DELETE" and (await self._show(campaign))["status"] == "cancelled")

    async def _show(self, campaign: _Campaign) -> Mapping[str, Any]:
        shown: Mapping[str, Any] = await self._service.call("GET", f"/v1/campaigns/{campaign.name}")
        return shown

    async def _end(self, campaign: _Campaign) -> None:
        """Waits for it, and writes down what was promised."""
        async with asyncio.timeout(LIMIT_S):
            while (shown := await self._show(campaign))["status"] not in ("done", "cancelled"):
                await asyncio.sleep(POLL_S)
        promised = campaign.users if shown["status"] == "done" else await self._reached(campaign, shown["produced"])
        for user in promised:
            self._scene.record.accept(_line(campaign, user))
        self._scene.record.campaign(
            {
                "notification_id": campaign.notification_id,
                "source": _SOURCE,
                "users": campaign.users,
                **{name: shown[name] for name in ("status", "recipients", "produced")},
                "holds": [{"from_ms": begin, "until_ms": end} for begin, end in campaign.holds],
                "allowance_ms": self._sizes.allowance_ms,
            }
        )
        self.shown[campaign.name] = {name: shown[name] for name in ("status", "recipients", "produced")}

    async def _reached(self, campaign: _Campaign, at_least: int) -> list[str]:
        """Of one that was called off: who has it, and is to get to an end."""

        def users() -> set[str]:
            return {
                event["user_id"]
                for event in self._scene.observer.events
                if event["notification_id"] == campaign.notification_id and event["status"] == "accepted"
            }

        if not await self._scene.system.until(lambda: len(users()) >= at_least, LIMIT_S):
            raise TimeoutError(f"{campaign.name}: {at_least} produced, {len(users())} accepted")
        return sorted(users())


async def _rows(users: Sequence[str], seconds: float) -> AsyncIterator[bytes]:
    """Each user in a row, some in two; so slowly that a process may die in between."""
    for begun in range(0, len(users), _ROWS):
        some = [*users[begun : begun + _ROWS], users[begun]]
        yield b"".join(msgspec.json.encode({"user_id": user, "data": {"name": "You"}}) + b"\n" for user in some)
        await asyncio.sleep(seconds * _ROWS / len(users))


def _line(campaign: _Campaign, user: str) -> dict[str, Any]:
    return {
        "at_ms": unix_ms(),
        "via": "campaign",
        "user_id": user,
        "source": _SOURCE,
        "idempotency_key": None,
        "notification_id": campaign.notification_id,
        "expires_at_ms": None,
        "topic": None,
        "partition": None,
        "offset": None,
        "request": None,
    }


# --- what is broken meanwhile ---


async def _break(scene: Scene) -> None:
    """kill -9 of who takes uploads, of who runs campaigns and of who decides; a router joins and is killed; the broker
    dies. In any order."""
    steps = [_kill_gateway, _kill_owner, _kill_router, _rebalance, _kill_broker]
    for _ in range(1 if scene.short else 3):
        for step in scene.random.sample(steps, len(steps)):
            await scene.pause(0.2, 1.5)
            await step(scene)
    await scene.system.ready(["kafka", "gateway", "router", _SECOND])


async def _kill_gateway(scene: Scene) -> None:
    scene.system.kill("gateway")


async def _kill_owner(scene: Scene) -> None:
    """Whichever gateway runs campaigns now: it has their recipients open."""
    await scene.system.until(lambda: _owner(scene) is not None, LIMIT_S)
    if (name := _owner(scene)) is not None:
        scene.system.kill(name)
        scene.record.inject("owner_killed", role="gateway", note=name)


def _owner(scene: Scene) -> str | None:
    for name in ("gateway", _SECOND):
        folder = str(scene.system.data_of(name) / "campaigns")
        with suppress(psutil.Error):
            files = psutil.Process(scene.system.dev.processes[name].pid or -1).open_files()
            if any(each.path.startswith(folder) for each in files):
                return name
    return None


async def _kill_router(scene: Scene) -> None:
    scene.system.kill("router")


async def _rebalance(scene: Scene) -> None:
    scene.system.start("router-2")
    await scene.pause(2.0, 5.0)
    await scene.system.stop("router-2", by_kill=scene.random.random() < 0.5)


async def _kill_broker(scene: Scene) -> None:
    await scene.system.ready(["kafka"])
    scene.record.inject("broker_killed", in_flight=ALL_IN_FLIGHT)
    scene.system.kill("kafka")


EXPERIMENTS = (
    Experiment(
        "campaigns",
        "A campaign uploaded twice at once, one paused and resumed, one cancelled, with kill -9 of the gateway that "
        "takes uploads, of the one that runs campaigns, of router and broker; a second router joins and leaves.",
        _campaigns_and_deaths,
    ),
)
