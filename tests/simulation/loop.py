"""An event loop in virtual time whose next step is drawn from a seed, and whose processes can die between two steps.

Within one process callbacks run in their order, as asyncio promises; which process goes next is chance. A process that
is killed never runs another instruction; one that is frozen goes on when it is thawed.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_MOST_STEPS = 3_000_000


class Stuck(Exception):
    """Nothing is left to run, or it never comes to rest."""


class Killed(BaseException):
    """Unwinds a process that died in the middle of a step; nothing of it runs afterwards."""


class Life:
    """A process as the scheduler sees it."""

    __slots__ = ("alive", "frozen", "name", "ready")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.ready: deque[_Handle] = deque()

    def __repr__(self) -> str:
        return self.name


_LIFE: ContextVar[Life] = ContextVar("life")


def context_of(life: Life) -> Context:
    """A context whose callbacks and tasks belong to ``life``."""
    context = copy_context()
    context.run(_LIFE.set, life)
    return context


class _Handle:
    __slots__ = ("args", "callback", "cancelled_", "context", "life", "when_")

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context, life: Life, when: float
    ) -> None:
        self.callback, self.args, self.context, self.life, self.when_ = callback, args, context, life, when
        self.cancelled_ = False

    def cancel(self) -> None:
        self.cancelled_ = True

    def cancelled(self) -> bool:
        return self.cancelled_

    def when(self) -> float:
        return self.when_


class VirtualLoop(asyncio.AbstractEventLoop):
    """``world``: the life of everything that isn't one of the system's processes."""

    def __init__(self, chance: Random) -> None:
        self.world = Life("world")
        self._chance = chance
        self._lives: list[Life] = [self.world]
        self._timers: list[tuple[float, int, _Handle]] = []
        self._count = 0
        self._now = 0.0
        #: Kept, so that what died isn't unwound by the garbage collector in the middle of something.
        self._tasks: list[asyncio.Task[Any]] = []
        self.steps = 0

    # --- lives ---

    def born(self, life: Life) -> None:
        self._lives.append(life)

    def kill(self, life: Life) -> None:
        """From now on no callback of ``life`` runs."""
        life.alive = False
        life.ready.clear()
        self._lives.remove(life)

    def spawn(self, life: Life, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task: asyncio.Task[T] = self.create_task(work, context=context_of(life))
        return task

    def close(self) -> None:
        """Unwinds what is left of the dead."""
        for life in list(self._lives):
            self.kill(life)
        for task in self._tasks:
            coroutine = task.get_coro()
            if coroutine is not None and not task.done():
                with suppress(RuntimeError):  # it has something to wait for even now
                    coroutine.close()
        self._tasks.clear()

    # --- running ---

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs until ``work`` is done. Raises Stuck."""
        asyncio._set_running_loop(self)
        try:
            task = self.spawn(self.world, work)
            while not task.done():
                self._step()
            return task.result()
        finally:
            asyncio._set_running_loop(None)

    def _step(self) -> None:
        able = [life for life in self._lives if life.ready and not life.frozen]
        if not able:
            self._move_time()
            return
        life = able[int(self._chance.random() * len(able))] if len(able) > 1 else able[0]
        handle = life.ready.popleft()
        if handle.cancelled_:
            return
        self.steps += 1
        if self.steps > _MOST_STEPS:
            raise Stuck(f"{_MOST_STEPS} steps, and no rest")
        handle.context.run(handle.callback, *handle.args)

    def _move_time(self) -> None:
        timers = self._timers
        while timers and (timers[0][2].cancelled_ or not timers[0][2].life.alive):
            heapq.heappop(timers)
        if not timers:
            raise Stuck("nothing is left to run")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            handle = heapq.heappop(timers)[2]
            if not handle.cancelled_ and handle.life.alive:
                handle.life.ready.append(handle)

    # --- asyncio's side ---

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> Any:
        handle = self._handle(callback, args, context, self._now)
        if handle.life.alive:
            handle.life.ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Any:
        handle = self._handle(callback, args, context, when)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def _handle(self, callback: Any, args: Any, context: Context | None, when: float) -> _Handle:
        context = context if context is not None else copy_context()
        return _Handle(callback, args, context, context.get(_LIFE, self.world), when)

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Of the dead nothing is heard; what goes wrong in the living reaches their runner's ``crash``."""
