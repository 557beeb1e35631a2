"""The calls of one partition: begun when their claims are durable; their results wait until they are settled."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from app.domain.out import Out
from app.failures import RateLimitedLog
from app.streaming.runtime import Runtime

#: What calls came to is settled with what comes next, or when it is so old, in ms.
_PATIENCE_MS = 20


class Calls:
    """``ended`` is called when a call has."""

    def __init__(self, parts: Runtime, ended: Callable[[], None]) -> None:
        self._runtime = parts
        self._performer = parts.executor
        self._ended = ended
        self._tasks: set[asyncio.Task[None]] = set()
        #: What ended calls brought and nobody has settled yet.
        self.results: deque[Any] = deque()
        self._oldest_ms = 0
        self._failures = RateLimitedLog()

    def begin(self, out: Out) -> None:
        """Begins a batch's calls, which are none of its any more."""
        calls, out.calls = out.calls, []
        for call in calls:
            task = asyncio.create_task(self._perform(call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._runtime.counted("calls", len(calls))

    def due_ms(self, now: int) -> int | None:
        """When it is time to settle results, Unix ms (0: at once); None: there are none."""
        if not self.results:
            return None
        return self._oldest_ms + _PATIENCE_MS if self._oldest_ms <= now else 0  # (0: the clock was set back)

    def open(self) -> bool:
        """Whether a call is under way, or its result is not settled."""
        return bool(self._tasks or self.results)

    def abandon(self) -> list[asyncio.Task[None]]:
        """Leaves those that are under way to their deadlines. Returns them, cancelled."""
        for task in self._tasks:
            task.cancel()
        return list(self._tasks)

    async def _perform(self, call: Any) -> None:
        assert self._performer is not None
        try:
            result = await self._performer.perform(call)
            self._oldest_ms = self._oldest_ms if self.results else self._runtime.clock()
            self.results.append(result)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # The call is left to its deadline, as if this process had died with it: its send is in doubt then.
            self._runtime.counted("results_failed", 1)
            self._failures.log("a call failed by an error of ours", error, self._runtime.clock())
        except BaseException as error:
            self._runtime.crash(error)
        finally:
            self._ended()
