"""Rows of an audit's own, on disk: what must be sorted or looked up without being held in memory."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from app.streaming.store import PartitionStore, block_cache

_CACHE_MB = 16
_AT_ONCE = 5_000


class Scratch:
    """Tables of bytes by key. What was put can be read after ``settle``."""

    def __init__(self, folder: Path) -> None:
        self._store = PartitionStore(folder, block_cache(_CACHE_MB))
        self._changes: dict[str, dict[bytes, bytes | None]] = {}
        self._waiting = 0

    def put(self, table: str, key: bytes, value: bytes = b"") -> None:
        self._changes.setdefault(table, {})[key] = value
        self._waiting += 1
        if self._waiting >= _AT_ONCE:
            self.settle()

    def settle(self) -> None:
        self._store.write(self._changes, {})
        self._changes, self._waiting = {}, 0

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._store.get(table, key)

    def has(self, table: str, key: bytes) -> bool:
        return self._store.get(table, key) is not None

    def scan(self, table: str, start: bytes = b"", end: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        return self._store.scan(table, start, end)

    def write(self, changes: Mapping[str, Mapping[bytes, bytes | None]]) -> None:
        self._store.write(changes, {})

    def close(self) -> None:
        self._store.close()
