"""The calls of one partition: begun when their checkpoint is durable, their results kept until they are settled."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from app.ports import Performer


class Calls:
    """``performer`` None: the role makes none. ``crash`` is told of bugs, ``ended`` that a call has."""

    def __init__(
        self, performer: Performer | None, crash: Callable[[BaseException], None], ended: Callable[[], None]
    ) -> None:
        self._performer = performer
        self._crash = crash
        self._ended = ended
        self._tasks: set[asyncio.Task[None]] = set()
        #: What ended calls brought and nobody has settled yet.
        self.results: deque[Any] = deque()

    def begin(self, call: Any) -> None:
        task = asyncio.create_task(self._perform(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
            self.results.append(await self._performer.perform(call))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._crash(error)
        finally:
            self._ended()
