"""The last resort: a process whose loop stands still, or whose own end takes too long, is ended by force, as otherwise
nobody would ever start it again.
"""

import asyncio
import faulthandler
import os
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType

import structlog

log = structlog.get_logger(__name__)

#: From the crash or the signal on. An ordinary end takes 5 s at most; the gateway gives calls being answered 10 s.
END_WITHIN_S = 20.0
#: As long as the loop may stand still. (``app/streaming/stall_detection.py``, which runs in it, sees what is slow.)
STUCK_S = 60.0
_BEAT_S = 1.0
#: sysexits.h: an internal software error.
EXIT_CODE = os.EX_SOFTWARE
_FRAMES = 3


class Watchdog:
    """Once armed only the end of the process disarms it: a thread may keep the interpreter long after the loop."""

    def __init__(self, limit_s: float, stuck_s: float = STUCK_S) -> None:
        self._limit_s = limit_s
        self._stuck_s = stuck_s
        self._armed = False

    async def beat(self) -> None:
        """As long as this runs, the loop does; where it doesn't, the stacks of all threads are written to stderr, and
        the process exits with 1. Until it is armed."""
        while not self._armed:
            faulthandler.dump_traceback_later(self._stuck_s, exit=True)
            await asyncio.sleep(_BEAT_S)

    def arm(self) -> None:
        """The end begins, in the running loop. The first call counts."""
        if self._armed:
            return
        self._armed = True
        over = threading.Timer(self._limit_s, self._end, [asyncio.get_running_loop()])
        over.daemon = True
        over.start()
        # Where no thread of Python's gets its turn any more, or the log is stuck. Exits with 1.
        faulthandler.dump_traceback_later(self._limit_s * 1.25, exit=True)

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            log.error("forced the process to end", after_s=self._limit_s, tasks=_tasks(loop), threads=_threads())
            sys.stderr.flush()
        finally:
            os._exit(EXIT_CODE)


def _tasks(loop: asyncio.AbstractEventLoop) -> list[str]:
    """What still runs in the loop."""
    running = asyncio.all_tasks(loop)
    return sorted(f"{task.get_name():.40}: {getattr(task.get_coro(), '__qualname__', '?')}" for task in running)


def _threads() -> list[str]:
    """The other threads, and where they are."""
    frames = sys._current_frames()
    return [
        f"{thread.name}: {_where(frame)}"
        for thread in threading.enumerate()
        if thread is not threading.current_thread() and (frame := frames.get(thread.ident or 0)) is not None
    ]


def _where(frame: FrameType) -> str:
    """The innermost frames, the last one first."""
    stack = [(at.f_code, line) for at, line in traceback.walk_stack(frame)][:_FRAMES]
    return " < ".join(f"{code.co_qualname} ({Path(code.co_filename).name}:{line})" for code, line in stack)
