"""Stored rows in memory: what tests, simulations and replays use in place of RocksDB."""

from collections.abc import Iterator, Mapping

from app.ports import Rows


class MemoryRows(Rows):
    """Dicts in place of a store, with the same order of keys."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.tables.get(table, {}).get(key)

    def scan(self, table: str, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        rows = self.tables.get(table, {})
        for key in sorted(k for k in rows if k >= start and (end is None or k < end)):
            yield key, rows[key]

    def write(self, table: str, changes: Mapping[bytes, bytes | None]) -> None:
        """Applies a batch's changes, as the runner does once they are durable."""
        rows = self.tables.setdefault(table, {})
        for key, value in changes.items():
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value
