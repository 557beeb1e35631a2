"""The system under experiment: the development system, with hands to hold, stop, starve and move its processes."""

import asyncio
import json
import os
import signal
import tomllib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import tomli_w

from app.config.keys import new_api_key, settings_entry
from app.config.providers import ProviderSettings
from app.config.sections import Scope
from app.dev.ports import free_port
from app.dev.supervisor import Change
from app.dev.system import DevSystem, Options
from app.private import write_private
from app.providers.registry import CLIENTS
from app.streaming import clocks
from app.wiring import KEEPING, SENDING
from faults.policy import POLICY, TEMPLATE, TIMEOUT_S
from faults.record import Record
from faults.wire import Wire

_POLL_S = 0.05
#: On a machine that has much else to do.
_START_S = 300.0
_PROVIDERS = ("APNS", "FCM", "SES", "SENDGRID", "TWILIO", "VONAGE")

SENDERS = SENDING


def _slots(channel: str) -> int:
    """Of all of the channel's providers together, as nothing else is set here."""
    concurrency: int = ProviderSettings.model_fields["concurrency"].default
    return concurrency * sum(its == channel for its, _, _ in CLIENTS.values())


#: Whom a broker's fault hits: everyone who calls providers.
ALL_IN_FLIGHT = sum(_slots(channel) for channel in SENDERS)


def in_flight(role: str | None) -> int:
    """How many provider calls a process of the role may have begun and not have heard of."""
    return _slots(role) if role in SENDERS else 0


def role_of(name: str) -> tuple[str, int]:
    """Role and instance of a process's name: ``router-2`` is the router's second."""
    role, _, instance = name.partition("-")
    return role, int(instance or 1)


class Faulty:
    """``async with Faulty(folder, jars) as system``: all roles are ready, and the experiments' policy is in force.

    Every process that ends without having been asked to is written into ``record``, if one is set.
    """

    def __init__(self, folder: Path, jars: Path) -> None:
        self.folder = folder
        self.record: Record | None = None
        #: Dead letters of all experiments so far.
        self.letters: list[Mapping[str, Any]] = []
        self._clock = folder / "clock-off-by"
        self._detour = (free_port(), free_port())
        self._asked_to_end: set[str] = set()
        self.wire = Wire(("127.0.0.1", self._detour[0]), port=self._detour[1])
        timeouts = {f"TOCSIN_PROVIDERS__{name}__TIMEOUT": str(TIMEOUT_S) for name in _PROVIDERS}
        options = Options(
            folder=folder,
            jars=jars,
            settings={**timeouts, clocks.VARIABLE: str(self._clock.absolute())},
            detour=self._detour,
        )
        self.dev = DevSystem(options, self._changed)

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clock_off_by(0)
        await self.wire.start()
        try:
            await self.dev.start()
            await self.dev.wait_ready(_START_S)
            await self._put_policy()
        except BaseException:
            await self.dev.stop()
            await self.wire.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self.dev.processes:
            self.signal(name, signal.SIGCONT)
        await self.dev.stop()
        await self.wire.stop()

    # --- processes ---

    def is_alive(self, name: str) -> bool:
        return name in self.dev.processes and self.dev.processes[name].pid is not None

    def signal(self, name: str, number: int) -> bool:
        """Sends a signal to a process; False when there is none just now."""
        pid = self.dev.processes[name].pid if name in self.dev.processes else None
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # it ended a moment ago, and its supervisor wasn't told yet
            return False
        return True

    def kill(self, name: str) -> bool:
        """SIGKILL; it is started again by itself."""
        return self.signal(name, signal.SIGKILL)

    async def stop(self, name: str, *, by_kill: bool = False) -> None:
        """Ends a process, which stays down."""
        supervised = self.dev.processes[name]
        if by_kill:
            self.kill(name)
        self._asked_to_end.add(name)
        await self.dev.stop_processes([name])
        self._asked_to_end.discard(name)
        if supervised.exit_code == -signal.SIGKILL:
            self._died(name, "kill -9" if by_kill else "kill -9, as it didn't end in time")

    def start(self, name: str, settings: Mapping[str, str] | None = None) -> None:
        role, instance = role_of(name)
        if role == "kafka":
            self.dev.start_broker()
        else:
            self.dev.start_role(role, instance, settings)

    async def restart(self, names: Sequence[str], settings: Mapping[str, str] | None = None) -> None:
        """Ends processes politely and starts them with more settings; they are ready when it returns."""
        await asyncio.gather(*(self.stop(name) for name in names))
        for name in names:
            self.start(name, settings)
        await self.ready(names)

    async def ready(self, names: Sequence[str] | None = None, limit_s: float = 180.0) -> None:
        """Until these processes (None: all) do their work. Raises NotReady."""
        await self.dev.wait_ready(limit_s, names)

    async def until(self, condition: Callable[[], bool], limit_s: float) -> bool:
        """Waits for a condition; False when it hasn't come within the limit."""
        try:
            async with asyncio.timeout(limit_s):
                while not condition():
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            return False
        return True

    def _changed(self, change: Change) -> None:
        if self.record is None or change.what != "ended" or change.name in self._asked_to_end:
            return
        self._died(change.name, f"exit code {change.exit_code}")

    def _died(self, name: str, why: str) -> None:
        role, instance = role_of(name)
        if self.record is not None and role not in ("kafka", "sandbox"):  # those are told by who did it
            self.record.inject("process_ended", role=role, instance=instance, in_flight=in_flight(role), note=why)

    async def add_key(self, key_id: str, scopes: Sequence[Scope]) -> str:
        """Puts another API key into the settings, as its owner would; it counts when this returns. Its source is its
        id."""
        key = new_api_key(key_id, key_id, scopes)
        file = Path(self.dev.state.config_file)
        settings = tomllib.loads(file.read_text())
        kept = [entry for entry in settings["auth"]["api_keys"] if entry["id"] != key_id]
        settings["auth"]["api_keys"] = [*kept, settings_entry(key, key_id, scopes).model_dump(exclude_unset=True)]
        write_private(file, tomli_w.dumps(settings).encode())
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as http:
            await _until_true(lambda: _knows(http, f"{self.dev.state.gateway_url}/v1/policy"), 60.0)
        return key

    # --- what they stand on ---

    def data_of(self, name: str) -> Path:
        """The folder of a role's process."""
        role, instance = role_of(name)
        return self.dev.settings.data.dir / f"{role}-{instance}"

    def detour(self) -> dict[str, str]:
        """Settings with which a role reaches the broker through ``wire``."""
        return {"TOCSIN_KAFKA__BOOTSTRAP": f"127.0.0.1:{self._detour[1]}"}

    def clock_off_by(self, ms: int) -> None:
        """Moves the clock of every role with tables, at once."""
        partial = self._clock.with_suffix(".partial")
        partial.write_text(str(ms))
        partial.replace(self._clock)

    @property
    def sandbox_folder(self) -> Path:
        return self.folder / "sandbox"

    async def break_provider(self, **fault: Any) -> str:
        """Tells the sandbox to do something wrong (docs/sandbox.md); returns the fault's id."""
        async with aiohttp.ClientSession() as http, http.post(f"{self._sandbox}/faults", json=fault) as answer:
            answer.raise_for_status()
            return str((await answer.json())["fault_id"])

    async def heal_provider(self, fault_id: str | None = None) -> None:
        """Takes a fault back; None: all."""
        path = "faults" if fault_id is None else f"faults/{fault_id}"
        async with aiohttp.ClientSession() as http, http.delete(f"{self._sandbox}/{path}") as answer:
            if answer.status != 404:  # one that was used up is gone already
                answer.raise_for_status()

    async def report_callbacks(self, settings: Mapping[str, Any] | None) -> None:
        """Has the sandbox report what became of mail and SMS (docs/sandbox.md); None: nothing more."""
        given = {} if settings is None else {"url": self.dev.state.gateway_url, **settings}
        async with aiohttp.ClientSession() as http, http.put(f"{self._sandbox}/callbacks", json=given) as answer:
            answer.raise_for_status()

    async def put_policy(self, policy: Mapping[str, Any]) -> None:
        """It is in force when this returns."""
        url, key = self.dev.state.gateway_url, self.dev.state.api_keys["admin"]
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(headers=headers) as http:
            async with http.put(f"{url}/v1/policy", data=json.dumps(policy)) as answer:
                if answer.status != 200:
                    raise RuntimeError(f"the policy was refused: {await answer.text()}")
            await _until_true(lambda: _in_force(http, f"{url}/v1/policy"), 60.0)

    @property
    def _sandbox(self) -> str:
        return self.dev.state.sandbox_url

    async def _put_policy(self) -> None:
        url, key = self.dev.state.gateway_url, self.dev.state.api_keys["admin"]
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.put(f"{url}/v1/templates/{TEMPLATE['id']}", data=json.dumps(TEMPLATE)) as answer,
        ):
            if answer.status not in (200, 201):
                raise RuntimeError(f"the template was refused: {await answer.text()}")
        await self.put_policy(POLICY)


async def _in_force(http: aiohttp.ClientSession, url: str) -> bool:
    async with http.get(url) as answer:
        return answer.status == 200 and bool((await answer.json())["in_force"])


async def _knows(http: aiohttp.ClientSession, url: str) -> bool:
    async with http.get(url) as answer:
        return answer.status not in (401, 429)


async def _until_true(question: Callable[[], Awaitable[bool]], limit_s: float) -> None:
    async with asyncio.timeout(limit_s):
        while not await question():
            await asyncio.sleep(_POLL_S)


__all__ = ["ALL_IN_FLIGHT", "KEEPING", "SENDERS", "Faulty", "in_flight", "role_of"]
