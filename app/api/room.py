"""How much may be on its way to the log at once: beyond it callers are asked to come back, and memory stays bounded."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.api.problems import Problem


class Room:
    """Counts records that are not acknowledged yet."""

    def __init__(self, records: int = 20_000) -> None:
        self._most = records
        self._taken = 0

    @contextmanager
    def for_records(self, count: int) -> Iterator[None]:
        """Raises Problem 429 where there is no room; a call that is alone always has it."""
        if self._taken and self._taken + count > self._most:
            raise Problem(429, "too much is on its way to the log", headers={"Retry-After": "1"})
        self._taken += count
        try:
            yield
        finally:
            self._taken -= count
