"""Deletes rows that have expired, a few at a time, so that tables stay as large as what they remember."""

from collections.abc import Mapping, Sequence, Sized
from typing import Any

import msgspec
import structlog

log = structlog.get_logger(__name__)


class TtlSweeper:
    """Walks the tables whose rows expire, round and round."""

    def __init__(self, tables: Sequence[Any]) -> None:
        self._tables = [table for table in tables if table.spec.until is not None]
        self._swept = frozenset(table.spec.name for table in self._tables)
        self._turn = 0
        self._after = b""

    def step(self, now: int, most: int) -> int:
        """Looks at ``most`` stored rows from where it stopped and deletes those that expired before ``now`` (Unix ms).

        Returns how many it deleted. A sweep that looks at as many rows as are written keeps pace with them.
        """
        if not self._tables:
            return 0
        table = self._tables[self._turn]
        try:
            expired, after = table.expired(self._after, most, now)
        except msgspec.DecodeError as error:
            # A row that can't be read is no reason to stop: whoever asks for it finds out. The others' turn comes.
            log.error("can't sweep a row", table=table.spec.name, error=repr(error))
            expired, after = [], None
        for key in expired:
            table.delete(key)
        if after is None:
            self._turn = (self._turn + 1) % len(self._tables)
        self._after = after or b""
        return len(expired)

    def written(self, changes: Mapping[str, Sized]) -> int:
        """How many rows a batch changed in the tables that are swept."""
        return sum(len(rows) for name, rows in changes.items() if name in self._swept)
