"""One partition's store on a simulated disk: what was written survives a kill; a power cut may lose the last writes."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.ports import Rows
from app.streaming.journal import JournalPosition
from app.streaming.store import Reached

_KEPT_UNDO = 30


class Disk(Rows):
    """Does what ``app.streaming.store.PartitionStore`` does. ``before``/``after``: called around each write."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = {}
        self._order: dict[str, list[bytes]] = {}
        self._reached: dict[str, Reached] = {}
        self._journal: JournalPosition | None = None
        self._undo: deque[tuple[dict[str, dict[bytes, bytes | None]], dict[str, Reached], JournalPosition | None]] = (
            deque(maxlen=_KEPT_UNDO)
        )
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.tables.get(table, {}).get(key)

    def scan(self, table: str, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        order, rows = self._order.get(table, []), self.tables.get(table, {})
        first = bisect_left(order, start)
        last = len(order) if end is None else bisect_left(order, end)
        for key in order[first:last]:
            yield key, rows[key]

    def write(
        self,
        changes: Mapping[str, Mapping[bytes, bytes | None]],
        reached: Mapping[str, Reached],
        journal_position: JournalPosition | None = None,
    ) -> None:
        self.before()
        undone = {table: {key: self.tables.get(table, {}).get(key) for key in rows} for table, rows in changes.items()}
        self._undo.append((undone, {t: self.reached(t) for t in reached}, self._journal))
        self._apply(changes)
        self._reached.update(reached)
        if journal_position is not None:
            self._journal = journal_position
        self.after()

    def lose(self, writes: int) -> None:
        """A power cut: the last writes never reached the platter."""
        for _ in range(min(writes, len(self._undo))):
            changes, reached, journal = self._undo.pop()
            self._apply(changes)
            self._reached.update(reached)
            self._journal = journal

    def reached(self, table: str) -> Reached:
        return self._reached.get(table, Reached(0))

    def journal_position(self) -> JournalPosition | None:
        return self._journal

    def clear(self, tables: Any) -> None:
        for table in tables:
            self.tables.pop(table, None)
            self._order.pop(table, None)
            self._reached.pop(table, None)
        self._undo.clear()

    def close(self) -> None:
        """Nothing to do: the next process opens the same disk."""

    def _apply(self, changes: Mapping[str, Mapping[bytes, bytes | None]]) -> None:
        for table, rows in changes.items():
            held, order = self.tables.setdefault(table, {}), self._order.setdefault(table, [])
            for key, value in rows.items():
                if value is not None:
                    if key not in held:
                        insort(order, key)
                    held[key] = value
                elif key in held:
                    del held[key]
                    del order[bisect_left(order, key)]
