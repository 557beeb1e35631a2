"""Detects work that stands still without an error, reports it, and ends the worker so that it is started again."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: As long as something may stand still though there is work for it.
STALLED_S = 60.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far something is: ``done`` grows as long as it gets on, ``todo`` says whether there is anything to do."""

    done: int
    todo: bool


class Stalled(Exception):
    """Something stood still for too long: the worker has to be started again."""


class StallDetector:
    """Looks at everything that has to get on, now and then. ``monotonic``: seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: dict[str, tuple[int, float]] = {}

    def look(self, progress: Mapping[str, Progress]) -> dict[str, float]:
        """How long each of these has stood still though it had something to do, in seconds; those that get on are left
        out."""
        now = self._monotonic()
        still: dict[str, float] = {}
        seen: dict[str, tuple[int, float]] = {}
        for name, at in progress.items():
            done, since = self._seen.get(name, (at.done, now))
            if not at.todo or at.done != done:
                done, since = at.done, now
            seen[name] = (done, since)
            if now > since:
                still[name] = now - since
        self._seen = seen
        return still
