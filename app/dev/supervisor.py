"""Keeps a set of programs running: starts them, starts those again that die, tells when all are ready, stops them."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.dev import process
from app.dev.process import Program

#: Asked with the program's process id: does it do its work now?
Ready = Callable[[int], Awaitable[bool]]

_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.2, 10.0
_STABLE_S = 30.0
#: A program that was started again so often and was never ready won't be.
_HOPELESS_RESTARTS = 5
_ASK_EVERY_S = 0.1


class NotReady(Exception):
    """Programs that don't come up; the message has the end of their logs."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that a watcher may want to tell. ``exit_code``: negative for a signal."""

    name: str
    what: Literal["started", "ended"]
    pid: int
    restarts: int
    exit_code: int | None = None


class Supervised:
    """One program and its process of the moment. ``pid`` is None between two lives."""

    def __init__(
        self, program: Program, ready: Ready, watch: Callable[[Change], None], patience_s: float, hopeless_after: int
    ) -> None:
        self.program = program
        self.hopeless_after = hopeless_after
        self.restarts = 0
        self.was_ready = False
        self._ready, self._watch, self._patience_s = ready, watch, patience_s
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._keep_running())

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def exit_code(self) -> int | None:
        """Of its last life, negative for a signal; None while it lives."""
        return self._process.returncode if self._process is not None else None

    async def is_ready(self) -> bool:
        if self._task.done():
            self._task.result()
        pid = self.pid
        ready = pid is not None and await self._ready(pid)
        self.was_ready = self.was_ready or ready
        return ready

    def kill(self) -> None:
        """SIGKILL, as a fault would; it is started again."""
        if self._process is not None and self._process.returncode is None:
            process.send(self._process, signal.SIGKILL)

    async def stop(self) -> None:
        self._stopping.set()
        await self._task

    async def _keep_running(self) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        delay = _FIRST_DELAY_S
        while True:
            started = time.monotonic()
            self._process = await process.start(self.program)
            self._report("started")
            ended = asyncio.create_task(self._process.wait())
            await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                await process.stop(self._process, self._patience_s)
                await ended
                return
            self._report("ended")
            delay = _FIRST_DELAY_S if time.monotonic() - started > _STABLE_S else delay
            await asyncio.wait((stopping,), timeout=delay)
            if stopping.done():
                return
            delay = min(2 * delay, _LONGEST_DELAY_S)
            self.restarts += 1

    def _report(self, what: Literal["started", "ended"]) -> None:
        assert self._process is not None
        self._watch(Change(self.program.name, what, self._process.pid, self.restarts, self._process.returncode))


class Supervisor:
    """The programs that are to run, by name."""

    def __init__(self, watch: Callable[[Change], None] = lambda change: None) -> None:
        self._watch = watch
        self._supervised: dict[str, Supervised] = {}

    @property
    def processes(self) -> Mapping[str, Supervised]:
        return self._supervised

    def add(
        self, program: Program, ready: Ready, patience_s: float = 6.0, hopeless_after: int = _HOPELESS_RESTARTS
    ) -> None:
        """Starts a program at once, and for good; ``patience_s``: how long it may take to stop; ``hopeless_after``: so
        many new starts, ``wait_ready`` gives up what never was ready. Call from the main thread."""
        self._supervised[program.name] = Supervised(program, ready, self._watch, patience_s, hopeless_after)

    async def wait_ready(self, timeout_s: float, names: Sequence[str] | None = None) -> None:
        """Until each of the named programs (None: all) is ready. Raises NotReady, at once for one that keeps dying."""
        deadline = time.monotonic() + timeout_s
        waiting = [self._supervised[name] for name in (self._supervised if names is None else names)]
        while waiting := [each for each in waiting if not await each.is_ready()]:
            hopeless = [each for each in waiting if not each.was_ready and each.restarts >= each.hopeless_after]
            if hopeless or time.monotonic() > deadline:
                raise NotReady("\n".join(map(_complaint, hopeless or waiting)))
            await asyncio.sleep(_ASK_EVERY_S)

    async def stop(self, names: Sequence[str] | None = None) -> None:
        """Stops the named programs (None: all) at the same time, and waits until they have ended."""
        wanted = list(self._supervised) if names is None else [name for name in names if name in self._supervised]
        stopping = [self._supervised.pop(name) for name in wanted]
        await asyncio.gather(*(supervised.stop() for supervised in stopping))


def _complaint(supervised: Supervised) -> str:
    log = supervised.program.log
    return f"{supervised.program.name} isn't ready; {log} ends with:\n{process.last_lines(log)}"
