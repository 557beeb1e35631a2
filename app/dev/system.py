"""The whole system on this machine: broker, topics, sandbox, gateway and workers, started, watched and stopped."""

import asyncio
import json
import os
import shutil
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from app.config import Settings
from app.dev import broker
from app.dev.configuration import Secrets, kept_secrets, write_settings
from app.dev.java import find_java
from app.dev.kafka_jars import ensure_jars
from app.dev.ports import free_port
from app.dev.process import Program
from app.dev.state import FOLDER, ProcessState, State, dev_environment, sole_system, write_state
from app.dev.supervisor import Change, NotReady, Ready, Supervised, Supervisor
from app.private import narrow
from app.store import topics

#: What a system keeps in its folder; with endings: what it has set aside.
_KEPT = ("data", "kafka", "lock", "logs", "sandbox", "secrets", "state", "tocsin")
ROLES = ("router", "push", "email", "sms", "in_app", "analytics", "hooks")
_BROKER_LIMIT_S, _SANDBOX_LIMIT_S = 60.0, 30.0
_KAFKA_PATIENCE_S = 8.0


@dataclass(frozen=True, slots=True)
class Options:
    """``folder`` takes all that the system keeps; ``jars`` may be shared by many. Of the ports, 0 is any free one, and
    another is only preferred. ``partitions``: of the keyed topics. A role that stands twice in ``roles`` runs as two
    instances. ``settings``: variables TOCSIN_SECTION__KEY for the roles. ``detour``: see ``BrokerOptions``.
    ``callbacks``: what the sandbox's providers report to the gateway, as for its ``PUT /callbacks``; None: nothing."""

    folder: Path = FOLDER
    jars: Path = Path(".tocsin/kafka")
    kafka_port: int = 0
    gateway_port: int = 0
    partitions: int = 8
    roles: Sequence[str] = ROLES
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    settings: Mapping[str, str] = field(default_factory=dict)
    detour: tuple[int, int] | None = None
    callbacks: Mapping[str, Any] | None = None
    #: The sandbox keeps only counts, in memory.
    sandbox_drops: bool = False


class DevSystem:
    """``async with DevSystem(options) as system`` starts it and waits until all of it is ready.

    Raises AlreadyRunning, NoJava, NoJars, BrokerFailed, TopicsError, NotReady; whatever was started is then stopped.
    """

    def __init__(self, options: Options, watch: Callable[[Change], None] = lambda change: None) -> None:
        self._options = options
        self._folder = options.folder.absolute()
        self._watch = watch
        self._supervisor = Supervisor(self._changed)
        self._alone = ExitStack()
        self._secrets: Secrets | None = None
        self._sandbox: dict[str, Any] = {}
        self._settings: Settings | None = None
        self._config_file = self._folder
        self._broker: broker.BrokerOptions | None = None

    @property
    def settings(self) -> Settings:
        assert self._settings is not None, "not started"
        return self._settings

    @property
    def state(self) -> State:
        """What ``read_state`` shows to others: addresses, keys, processes."""
        assert self._secrets is not None, "not started"
        return State(
            pid=os.getpid(),
            config_file=str(self._config_file),
            environment=self._sandbox["env"],
            gateway_url=f"http://127.0.0.1:{self.settings.gateway.port}",
            kafka_bootstrap=self._broker_options.bootstrap,
            sandbox_url=self._sandbox["control_url"],
            api_keys=self._secrets.api_keys,
            jwt_secret=self._secrets.jwt_secret,
            processes={
                name: ProcessState(each.pid or 0, each.restarts, str(each.program.log))
                for name, each in self.processes.items()
            },
        )

    @property
    def processes(self) -> Mapping[str, Supervised]:
        """By name: ``kafka``, ``sandbox``, ``gateway``, ``router`` (a second one: ``router-2``) and so on."""
        return self._supervisor.processes

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which a program of ours talks to this system: our own, without other settings."""
        ours = {name: value for name, value in self._options.environ.items() if not name.startswith("TOCSIN_")}
        return {**ours, **self._options.settings, **dev_environment(self.state)}

    async def __aenter__(self) -> Self:
        try:
            await self.start()
            await self.wait_ready()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts everything; the broker, its topics and the sandbox are ready when it returns."""
        self._alone.enter_context(sole_system(self._folder))
        self._keep_private()
        self._keep_only_last_logs()
        self._secrets = kept_secrets(self._folder)
        await self._start_broker_and_sandbox()
        await self._supervisor.wait_ready(_SANDBOX_LIMIT_S, ["sandbox"])
        # One after the other: all of it at once takes longer where cores are few.
        await self._wait_for_broker()
        gateway_port = free_port(self._options.gateway_port)
        self._sandbox = _read_json(self._folder / "sandbox" / "sandbox.json")
        self._config_file = write_settings(
            self._folder,
            self._broker_options.bootstrap,
            gateway_port,
            self._sandbox["providers"],
            self._secrets,
            self._options.partitions,
        )
        self._settings = Settings.load({**self._options.settings, "TOCSIN_CONFIG": str(self._config_file)})
        await self._make_topics()
        await self._have_reported(gateway_port)
        self.start_role("gateway")
        for position, role in enumerate(self._options.roles):
            self.start_role(role, 1 + self._options.roles[:position].count(role))

    async def wait_ready(self, timeout_s: float = 120.0, names: Sequence[str] | None = None) -> None:
        """Until each of the named processes (None: all) does its work. Raises NotReady with the end of the logs of
        those that don't."""
        await self._supervisor.wait_ready(timeout_s, names)

    def kill(self, name: str) -> None:
        """SIGKILL for one process, which is then started again."""
        self.processes[name].kill()

    def start_role(self, role: str, instance: int = 1, settings: Mapping[str, str] | None = None) -> str:
        """Starts an instance of a role, with more settings of its own; returns the process's name."""
        name = role if instance == 1 else f"{role}-{instance}"
        environ = {**self.environment, "TOCSIN_INSTANCE": str(instance), **(settings or {})}
        arguments = (role,) if role == "gateway" else ("worker", role)
        command = [sys.executable, "-m", "app.cli", *arguments]
        ready = operations_ready(self.settings.data.dir / f"{role}-{instance}", self.settings.operations.client_tls())
        self._supervisor.add(Program(name, command, environ, self._log(name)), ready)
        return name

    def start_broker(self) -> None:
        """Starts the broker again that was stopped by name."""
        program = broker.program(self._broker_options, self._options.environ)
        self._supervisor.add(program, self._broker_answers, _KAFKA_PATIENCE_S)

    async def stop_processes(self, names: Sequence[str]) -> None:
        """Stops these processes, which are not started again by themselves."""
        await self._supervisor.stop(names)

    async def stop(self) -> None:
        """Stops the roles, then what they stand on; nothing is running afterwards."""
        try:
            below = ("sandbox", "kafka")
            await self._supervisor.stop([name for name in self.processes if name not in below])
            for name in below:
                await self._supervisor.stop([name])
        finally:
            self._alone.close()

    async def _start_broker_and_sandbox(self) -> None:
        environ = dict(self._options.environ)
        options = broker.BrokerOptions(
            folder=self._folder / "kafka",
            libs=await asyncio.to_thread(ensure_jars, self._options.jars, environ),
            java=await asyncio.to_thread(find_java, environ),
            port=free_port(self._options.kafka_port),
            controller_port=free_port(),
            log=self._log("kafka"),
            detour=self._options.detour,
        )
        self._broker = options
        sandbox = [sys.executable, "-m", "app.sandbox", "--dir", str(self._folder / "sandbox")]
        sandbox += ["--drop"] if self._options.sandbox_drops else []
        log = self._log("sandbox")
        self._supervisor.add(Program("sandbox", sandbox, environ, log), _sandbox_ready(self._folder / "sandbox", log))
        data = self._folder / "data"
        if await asyncio.to_thread(broker.prepare, options) and data.exists():
            broker.move_aside(data)  # what roles remember of another log would be wrong for this one
        self._start_new_broker()

    def _start_new_broker(self) -> None:
        program = broker.program(self._broker_options, self._options.environ)
        self._supervisor.add(program, self._broker_answers, _KAFKA_PATIENCE_S, hopeless_after=1)

    async def _wait_for_broker(self) -> None:
        """Until it answers. Where another program was quicker to take one of its ports, it gets others."""
        while True:
            try:
                return await self._supervisor.wait_ready(_BROKER_LIMIT_S, ["kafka"])
            except NotReady:
                await self._supervisor.stop(["kafka"])
                ports = self._broker_options.port, self._broker_options.controller_port
                if all(free_port(port) == port for port in ports):
                    raise
            self._broker = replace(self._broker_options, port=free_port(), controller_port=free_port())
            await asyncio.to_thread(broker.prepare, self._broker)
            self._start_new_broker()

    async def _have_reported(self, gateway_port: int) -> None:
        given = self._options.callbacks
        settings = {} if given is None else {"url": f"http://127.0.0.1:{gateway_port}", **given}
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.put(f"{self._sandbox['control_url']}/callbacks", json=settings) as response,
        ):
            response.raise_for_status()

    async def _make_topics(self) -> None:
        from app.wiring import internal_tables  # only now, while nothing waits for it

        await topics.apply(self.settings.kafka, internal_tables(), self.settings.data.erasure)

    @property
    def _broker_options(self) -> broker.BrokerOptions:
        assert self._broker is not None, "not started"
        return self._broker

    async def _broker_answers(self, _: int) -> bool:
        return await broker.answers(self._broker_options)

    def _log(self, name: str) -> Path:
        return self._folder / "logs" / f"{name}.log"

    def _keep_private(self) -> None:
        """What an earlier version made is narrowed, before anything is written to it."""
        ours = [path for path in self._folder.iterdir() if path.name.partition(".")[0] in _KEPT]
        narrow(*ours, alone=[self._folder])

    def _keep_only_last_logs(self) -> None:
        logs, previous = self._folder / "logs", self._folder / "logs.previous"
        if logs.exists():
            shutil.rmtree(previous, ignore_errors=True)
            logs.rename(previous)

    def _changed(self, change: Change) -> None:
        if self._settings is not None:
            write_state(self._folder, self.state)
        self._watch(change)


def _sandbox_ready(folder: Path, log: Path) -> Ready:
    """The sandbox says on its own output when it has opened its ports, and then answers."""

    async def ready(_: int) -> bool:
        try:
            if b"sandbox ready" not in _read(log):
                return False
            return await _answers(_read_json(folder / "sandbox.json")["control_url"])
        except (OSError, ValueError, KeyError):
            return False

    return ready


def operations_ready(folder: Path, tls: ssl.SSLContext | bool = True) -> Ready:
    """Asks the role with this data folder. It writes where its operations port is; what an earlier process wrote has
    another pid. ``tls``: how the port's certificate is verified, if it has one."""

    async def ready(pid: int) -> bool:
        try:
            announced = _read_json(folder / "operations.json")
            return announced["pid"] == pid and await _answers(f"{announced['url']}/health/ready", tls)
        except (OSError, ValueError, KeyError):
            return False

    return ready


def _read(path: Path) -> bytes:
    return path.read_bytes()


def _read_json(path: Path) -> Any:
    return json.loads(_read(path))


async def _answers(url: str, tls: ssl.SSLContext | bool = True) -> bool:
    timeout = aiohttp.ClientTimeout(total=2)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, ssl=tls) as response:
            return response.status == 200
    except (TimeoutError, aiohttp.ClientError):
        return False
