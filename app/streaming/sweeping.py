"""Rows that mean nothing any more are deleted bit by bit, so that tables stay as large as what they remember."""

from collections.abc import Sequence
from typing import Any


class Sweeper:
    """Walks the tables whose rows expire, round and round."""

    def __init__(self, tables: Sequence[Any]) -> None:
        self._tables = [table for table in tables if table.spec.expires is not None]
        self._turn = 0
        self._after = b""

    def step(self, now: int, most: int) -> int:
        """Looks at ``most`` rows from where it stopped and deletes those that expired before ``now`` (Unix ms).

        Returns how many it deleted. A sweep that looks at as many rows as are written keeps pace with them.
        """
        if not self._tables:
            return 0
        table = self._tables[self._turn]
        rows = table.scan(self._after, None, most)
        deleted = 0
        for key, row in rows:
            expires = table.spec.expires(row)
            if expires is not None and expires < now:
                table.delete(key)
                deleted += 1
        if len(rows) < most:
            self._turn = (self._turn + 1) % len(self._tables)
            self._after = b""
        else:
            self._after = rows[-1][0] + b"\0"
        return deleted
