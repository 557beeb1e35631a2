"""Stored rows in memory: what tests, simulations and replays use in place of RocksDB."""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping

from app.ports import Rows


class MemoryRows(Rows):
    """Dicts in place of a store, with the same order of keys."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = {}
        self._order: dict[str, list[bytes]] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.tables.get(table, {}).get(key)

    def scan(self, table: str, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        order, rows = self._order.get(table, []), self.tables.get(table, {})
        for position in range(bisect_left(order, start), len(order)):
            key = order[position]
            if end is not None and key >= end:
                return
            yield key, rows[key]

    def write(self, table: str, changes: Mapping[bytes, bytes | None]) -> None:
        """Applies a batch's changes, as the runner does once they are durable."""
        rows, order = self.tables.setdefault(table, {}), self._order.setdefault(table, [])
        for key, value in changes.items():
            if value is None:
                if rows.pop(key, None) is not None:
                    del order[bisect_left(order, key)]
                continue
            if key not in rows:
                insort(order, key)
            rows[key] = value
