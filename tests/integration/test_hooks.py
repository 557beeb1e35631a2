"""The hooks role on a real broker: whatever happens to it and to receivers, every event of a service reaches its hook,
in order for each user, signed as the specification says."""

import asyncio
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry
from standardwebhooks.webhooks import Webhook

from agents.hooks.role import run_hooks
from app.config import Data, Installation, Kafka, Settings
from app.config.sections import Hooks
from app.domain.hooks import HOOK_STATUSES, seal
from app.store import topics as declared_topics
from app.store.hooks import HooksFollower, HookWriter
from app.store.publisher import KafkaPublisher
from schemas.hooks import Hook, HookReplay
from schemas.lifecycle import LifecycleEvent, encode_lifecycle
from schemas.topics import LIFECYCLE
from tests.conftest import eventually
from tests.unit.store.conftest import event

SECRET = "the installation's own secret of 32 bytes"
WHSEC = "whsec_" + "a" * 40
USERS = 12


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
async def settings(kafka: str, tmp_path: Path) -> Settings:
    settings = Settings(
        kafka=Kafka(bootstrap=kafka, partitions=8),
        data=Data(dir=tmp_path),
        installation=Installation.model_validate({"secret": SECRET}),
        hooks=Hooks(allow_hosts=("127.0.0.1",)),
    )
    await declared_topics.apply(settings.kafka, {})
    return settings


class Receiver:
    """A service's server; what it hears must be signed. ``answer``: the status for a path and an event. The path
    ``stuck`` hangs."""

    def __init__(self) -> None:
        self.got: dict[str, list[dict[str, Any]]] = {}
        self.ids: dict[str, list[str]] = {}
        self.answer: Callable[[str, dict[str, Any]], int] = lambda name, event: 204
        self.hanging = asyncio.Event()
        app = web.Application()
        app.router.add_post("/{name}", self._take)
        self.server = TestServer(app)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server.port}/{name}"

    async def _take(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        verified: Any = Webhook(WHSEC).verify(await request.read(), dict(request.headers))
        data = verified["data"]
        assert request.headers["webhook-id"] == data["event_id"]
        if name == "stuck":
            self.ids.setdefault(name, []).append(data["event_id"])
            await self.hanging.wait()
        status = self.answer(name, data)
        if status < 300:
            self.got.setdefault(name, []).append(data)
        self.ids.setdefault(name, []).append(data["event_id"])
        return web.Response(status=status)

    def events(self, name: str) -> list[str]:
        """Each once, in the order of their first arrival."""
        return list(dict.fromkeys(each["event_id"] for each in self.got.get(name, ())))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with receiver.server:
        yield receiver
        receiver.hanging.set()


@asynccontextmanager
async def writing(settings: Settings) -> AsyncIterator[HookWriter]:
    """As the gateway sets hooks up."""
    options, secret = settings.kafka.client_options(), SECRET.encode()
    publisher, states = KafkaPublisher(options, client_id="test"), HooksFollower(options, [secret])
    await publisher.start()
    await states.start()
    try:
        yield HookWriter(publisher, states, secret, now_ms)
    finally:
        await states.close()
        await publisher.close()


async def set_up(writer: HookWriter, source: str, url: str, **given: Any) -> Hook:
    hook_id = str(uuid.uuid4())
    sealed = seal(WHSEC, SECRET.encode(), hook_id, b"n" * 12)
    hook = Hook(id=hook_id, source=source, url=url, sealed=sealed, at=now_ms(), **{"statuses": ["sent"], **given})
    await writer.write(hook)
    return hook


@asynccontextmanager
async def hooks_role(settings: Settings) -> AsyncIterator[CollectorRegistry]:
    """The role, in this process, from when it is ready."""
    stop, ready, registry = asyncio.Event(), asyncio.Event(), CollectorRegistry()
    role = asyncio.create_task(run_hooks(settings, stop, ready.set, registry, now_ms))
    is_ready = asyncio.create_task(ready.wait())
    await asyncio.wait((role, is_ready), timeout=180, return_when=asyncio.FIRST_COMPLETED)
    assert ready.is_set(), role
    try:
        yield registry
    finally:
        stop.set()
        await role


@asynccontextmanager
async def worker(settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """``tocsin worker hooks`` as its own process."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")},
        "TOCSIN_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "TOCSIN_DATA__DIR": str(settings.data.dir),
        "TOCSIN_INSTALLATION__SECRET": SECRET,
        "TOCSIN_HOOKS__ALLOW_HOSTS": json.dumps(["127.0.0.1"]),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", "worker", "hooks", env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def produce(settings: Settings, *events: LifecycleEvent) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap) as producer:
        for each in events:
            await producer.send(LIFECYCLE, encode_lifecycle(each), each.user_id.encode())
        await producer.flush()


def events_of(source: str, number: int, status: str = "sent") -> list[LifecycleEvent]:
    made = [event(status, source=source, user_id=f"user-{n % USERS}") for n in range(number)]
    return [msgspec.structs.replace(each, event_id=f"{source}-{n}") for n, each in enumerate(made)]


def in_order(receiver: Receiver, name: str, made: list[LifecycleEvent]) -> None:
    """Each user's events came in the order in which they happened."""
    places = {each.event_id: place for place, each in enumerate(made)}
    for user in {each.user_id for each in made}:
        came = [places[e] for e in receiver.events(name) if made[places[e]].user_id == user]
        assert came == sorted(came), user


async def counted_waiting(registry: CollectorRegistry) -> list[float]:
    """How many events wait for each hook, once the role has counted."""
    found: list[float] = []

    async def is_counted() -> bool:
        found[:] = [s.value for m in registry.collect() if m.name == "tocsin_hook_waiting" for s in m.samples]
        return bool(found)

    await eventually(is_counted)
    return found


async def has(receiver: Receiver, name: str, number: int) -> bool:
    return len(receiver.events(name)) >= number


async def test_a_service_is_called_for_its_own_events_alone(settings: Settings, receiver: Receiver) -> None:
    source, other = uuid.uuid4().hex, uuid.uuid4().hex
    async with writing(settings) as writer:
        await produce(settings, *events_of(source, 3, "queued"))
        await set_up(writer, source, receiver.url("mine"))
        await set_up(writer, source, receiver.url("all"), statuses=list(HOOK_STATUSES))
        await set_up(writer, other, receiver.url("other"))
        async with hooks_role(settings):
            made = events_of(source, 50)
            await produce(settings, event("failed", source=source, event_id="f"), *made, *events_of(other, 1))
            await eventually(partial(has, receiver, "mine", 50))
            await eventually(partial(has, receiver, "all", 51))
            await eventually(partial(has, receiver, "other", 1))
    assert sorted(receiver.events("mine")) == sorted(each.event_id for each in made)
    assert receiver.events("other") == [f"{other}-0"]
    in_order(receiver, "mine", made)


async def test_a_receiver_that_hangs_or_fails_delays_nobody_else(settings: Settings, receiver: Receiver) -> None:
    source = uuid.uuid4().hex
    receiver.answer = lambda name, _: 500 if name == "broken" else 204
    async with writing(settings) as writer:
        for name in ("stuck", "broken", "good"):
            await set_up(writer, source, receiver.url(name))
        async with hooks_role(settings) as registry:
            made = events_of(source, 2000)
            await produce(settings, *made)
            await eventually(partial(has, receiver, "good", 2000))
            assert receiver.events("broken") == []
            waiting = await counted_waiting(registry)
            assert max(waiting) <= 500
            receiver.hanging.set()
    in_order(receiver, "good", made)


async def test_nothing_is_missed_by_a_role_that_is_killed(settings: Settings, receiver: Receiver) -> None:
    """Not what was in hand, what was being tried again, nor what came meanwhile; and each keeps its webhook-id."""
    source = uuid.uuid4().hex
    made = events_of(source, 900)
    failing = {f"{source}-7", f"{source}-300"}
    receiver.answer = lambda _, data: 503 if data["event_id"] in failing else 204
    async with writing(settings) as writer:
        await set_up(writer, source, receiver.url("mine"))
        async with worker(settings) as process:
            await produce(settings, *made[:400])
            await eventually(partial(has, receiver, "mine", 200))
            process.send_signal(signal.SIGKILL)
            assert await process.wait() == -signal.SIGKILL
        await produce(settings, *made[400:])
        async with worker(settings) as process:
            await eventually(partial(has, receiver, "mine", 500))
            process.send_signal(signal.SIGKILL)
            await process.wait()
        failing.clear()
        async with worker(settings):
            await eventually(partial(has, receiver, "mine", 900), 120)
    assert sorted(receiver.events("mine")) == sorted(each.event_id for each in made)
    in_order(receiver, "mine", made)


async def test_a_hook_that_is_gone_is_disabled_and_goes_on_when_enabled(settings: Settings, receiver: Receiver) -> None:
    source, status = uuid.uuid4().hex, [410]
    made = events_of(source, 10)
    receiver.answer = lambda name, _: status[0] if name == "mine" else 204
    async with writing(settings) as writer:
        hook = await set_up(writer, source, receiver.url("mine"))
        await set_up(writer, source, receiver.url("another"))
        async with hooks_role(settings):
            await produce(settings, *made[:5])
            await eventually(lambda: _is(writer.states.disabled(hook.id) is not None))
            calls = len(receiver.ids["mine"])
            await produce(settings, *made[5:])
            await eventually(partial(has, receiver, "another", 10))
            assert len(receiver.ids["mine"]) == calls
            status[0] = 204
            await writer.enable(hook.id)
            await eventually(partial(has, receiver, "mine", 10))


async def test_a_time_is_replayed_with_the_same_ids(settings: Settings, receiver: Receiver) -> None:
    source = uuid.uuid4().hex
    async with writing(settings) as writer:
        hook = await set_up(writer, source, receiver.url("mine"))
        async with hooks_role(settings):
            await produce(settings, *events_of(source, 20))
            await eventually(partial(has, receiver, "mine", 20))
            span = {"from_ms": hook.at - 1000, "to_ms": now_ms() + 1}
            await writer.write(HookReplay(id=hook.id, replay_id=str(uuid.uuid4()), at=now_ms(), **span))
            await eventually(lambda: _is(len(receiver.ids["mine"]) >= 40))
        async with hooks_role(settings):  # what is over doesn't begin again
            await produce(settings, event("sent", source=source, event_id="last"))
            await eventually(partial(has, receiver, "mine", 21))
    assert sorted(receiver.ids["mine"]) == sorted([*(f"{source}-{n}" for n in range(20))] * 2 + ["last"])


async def test_a_deleted_hook_is_called_no_more(settings: Settings, receiver: Receiver) -> None:
    source = uuid.uuid4().hex
    async with writing(settings) as writer:
        hook = await set_up(writer, source, receiver.url("mine"))
        other = await set_up(writer, source, receiver.url("other"))
        async with hooks_role(settings):
            await produce(settings, *events_of(source, 5))
            await eventually(partial(has, receiver, "mine", 5))
            await writer.delete(hook.id)
            await set_up(writer, source, receiver.url("third"))
            await produce(settings, event("sent", source=source, event_id="late"))
            await eventually(partial(has, receiver, "third", 1))
            await eventually(partial(has, receiver, "other", 6))
            assert "late" not in receiver.ids["mine"]
            await writer.delete(other.id)


async def _is(answer: bool) -> bool:
    return answer
