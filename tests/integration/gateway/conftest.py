"""A gateway over a real broker of its own, and someone who calls it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from aiokafka import AIOKafkaConsumer

from app.api.gateway import run_gateway
from app.config import Kafka, Settings
from app.defaults import default_policy_text
from app.dev import process
from app.dev.broker import Broker
from app.sandbox.certificates import Authority
from app.store import topics as declared_topics
from app.store.publisher import KafkaPublisher
from app.wiring import internal_tables
from tests.calling import JWT_SECRET, bearer, called, key_hash, user_token
from tests.conftest import broker_options, eventually

KEYS = {
    "shop": ("shop." + "s" * 43, "shop", ("send", "campaign", "read")),
    "auth": ("auth." + "a" * 43, "auth", ("send", "campaign", "read")),
    "ops": ("ops." + "o" * 43, "", ("admin",)),
}
PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class OwnBroker:
    """Not the one that other tests share: here it is also frozen."""

    bootstrap: str
    process: psutil.Process

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It answers nobody, and knows nothing of it."""
        self.process.suspend()
        try:
            yield
        finally:
            self.process.resume()


@pytest.fixture(scope="package")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    options = broker_options(tmp_path_factory.mktemp("gateway-kafka"))
    broker = Broker(options)
    with asyncio.Runner() as runner:
        runner.run(broker.start())
        runner.run(declared_topics.apply(Kafka(bootstrap=broker.bootstrap, partitions=PARTITIONS), internal_tables()))
        mine = str(options.properties_file)
        [java] = [p for p in psutil.Process().children(recursive=True) if p.cmdline()[-1:] == [mine]]
        yield OwnBroker(broker.bootstrap, java)
        runner.run(broker.stop())


@pytest.fixture(scope="package")
def environ(broker: OwnBroker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What all roles of these tests are set up with."""
    keys = [
        {"id": name, "sha256": key_hash(key), "source": source, "scopes": scopes}
        for name, (key, source, scopes) in KEYS.items()
    ]
    pem, ca = _certificate(tmp_path_factory.mktemp("tls"))
    return {
        "TOCSIN_OPERATIONS__CERT_FILE": pem,
        "TOCSIN_OPERATIONS__KEY_FILE": pem,
        "TOCSIN_OPERATIONS__CA_FILE": ca,
        "TOCSIN_KAFKA__BOOTSTRAP": broker.bootstrap,
        "TOCSIN_KAFKA__PARTITIONS": str(PARTITIONS),
        "TOCSIN_DATA__DIR": str(tmp_path_factory.mktemp("data")),
        "TOCSIN_GATEWAY__PORT": "0",
        "TOCSIN_GATEWAY__CORS_ORIGINS": json.dumps(["https://shop.example"]),
        "TOCSIN_AUTH__API_KEYS": json.dumps(keys),
        "TOCSIN_AUTH__JWT": json.dumps({"secret": JWT_SECRET}),
    }


def _certificate(folder: Path) -> tuple[str, str]:
    """(certificate with its key, authority): users are read over TLS here."""
    authority = Authority(folder)
    return str(folder / "server.pem"), str(authority.ca_file)


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    return Settings.load(environ)


@dataclass(frozen=True, slots=True)
class Workers:
    """By role. A test that kills one starts another."""

    environ: dict[str, str]
    log: Path
    running: dict[str, asyncio.subprocess.Process]

    #: Those that tests have started: not by the fixture's event loop.
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    async def kill(self, role: str) -> None:
        """With kill -9, whichever event loop started it."""
        killed = psutil.Process(self.running[role].pid)
        killed.kill()

        async def is_gone() -> bool:
            return not killed.is_running() or killed.status() == psutil.STATUS_ZOMBIE

        await eventually(is_gone)

    async def start(self, role: str) -> None:
        command = [sys.executable, "-m", "app.cli", "worker", role]
        with (self.log / f"{role}-again.log").open("wb") as log:
            self.started.append(subprocess.Popen(command, env={**os.environ, **self.environ}, stdout=log, stderr=log))

    def stop(self) -> None:
        for worker in self.started:
            worker.terminate()
            worker.wait(30)


@pytest.fixture(scope="package")
def workers(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """The roles that the gateway asks, as processes of their own, ready."""
    log = tmp_path_factory.mktemp("logs")
    with asyncio.Runner() as runner:
        started = {role: runner.run(_worker(role, environ, log)) for role in ("router", "in_app", "analytics")}
        try:
            for role in started:
                runner.run(eventually(partial(_is_ready, environ, role), 120))
            workers = Workers(environ, log, started)
            try:
                yield workers
            finally:
                workers.stop()
        finally:
            for each in started.values():
                runner.run(process.stop(each, 10))


async def _worker(role: str, environ: dict[str, str], log: Path) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "app.cli", "worker", role]
    return await process.start(process.Program(role, command, {**os.environ, **environ}, log / f"{role}.log"))


async def _is_ready(environ: dict[str, str], role: str) -> bool:
    settings = Settings.load(environ)
    try:
        url = json.loads((settings.data_folder(role) / "operations.json").read_text())["url"]
        assert url.startswith("https://")
        tls = settings.operations.client_tls()
        async with aiohttp.ClientSession() as session, session.get(f"{url}/health/ready", ssl=tls) as response:
            return response.status == 200
    except (OSError, ValueError, aiohttp.ClientError):
        return False


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    document: Any


@dataclass(slots=True)
class Caller:
    """Calls the gateway as a service (``key``), as a user (``user``), or as nobody."""

    session: aiohttp.ClientSession
    url: str
    headers: dict[str, str] = field(default_factory=dict)

    def key(self, name: str) -> "Caller":
        return Caller(self.session, self.url, bearer(KEYS[name][0]))

    def user(self, user_id: str) -> "Caller":
        return Caller(self.session, self.url, bearer(user_token(user_id)))

    async def __call__(
        self, method: str, path: str, body: Any = None, *, query: dict[str, str] | None = None, **headers: str
    ) -> Reply:
        """``body``: JSON values, or bytes as they are. Header names with _ for -."""
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        async with called(self.session, method, self.url + path, raw, self.headers | headers, query) as response:
            answer = await response.read()
            is_json = "json" in response.content_type
            return Reply(response.status, dict(response.headers), json.loads(answer) if is_json else answer)


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[str]:
    """A running gateway; its address."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    running = asyncio.create_task(run_gateway(settings, stop, ready.set_result))
    await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    try:
        yield ready.result()
    finally:
        stop.set()
        await running


@pytest.fixture
async def gateway(settings: Settings) -> AsyncIterator[Caller]:
    async with served(settings) as url, aiohttp.ClientSession() as session:
        yield Caller(session, url)


@pytest.fixture
async def policy_changes(gateway: Caller) -> AsyncIterator[None]:
    """For tests that put another policy in force: afterwards it is the default again."""
    yield
    text = default_policy_text().encode()
    assert (await gateway.key("ops")("PUT", "/v1/policy", text, Content_Type="application/yaml")).status == 200


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[KafkaPublisher]:
    """Writes to the log past the gateway."""
    publisher = KafkaPublisher(settings.kafka.client_options(), client_id="a-service")
    await publisher.start()
    yield publisher
    await publisher.close()


@asynccontextmanager
async def watched(settings: Settings, *topics: str) -> AsyncIterator[Callable[[int], Any]]:
    """Reads what is written to topics from now on: ``await records(n)`` returns once there are n of them."""
    consumer = AIOKafkaConsumer(*topics, **settings.kafka.client_options(), group_id=None, enable_auto_commit=False)
    await consumer.start()
    await consumer.seek_to_end()
    for at in consumer.assignment():
        await consumer.position(at)
    read: list[Any] = []

    async def records(count: int) -> list[Any]:
        async with asyncio.timeout(60):
            while len(read) < count:
                for batch in (await consumer.getmany(timeout_ms=100)).values():
                    read.extend(batch)
        return read

    try:
        yield records
    finally:
        await consumer.stop()
