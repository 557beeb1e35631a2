"""A partition's store in memory, and the smallest state over one."""

from collections.abc import Iterator, Mapping
from typing import Any

from app.ports import Rows
from app.streaming.journal import JournalPosition
from app.streaming.store import Reached
from tables.rows import MemoryRows
from tables.schedule import SCHEDULE, Schedule


class MemoryStore(Rows):
    """Read and written as ``app.streaming.store.PartitionStore`` is, as far as a runner needs it."""

    def __init__(self) -> None:
        self._rows = MemoryRows()

    @property
    def tables(self) -> Mapping[str, Mapping[bytes, bytes]]:
        return self._rows.tables

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._rows.get(table, key)

    def scan(self, table: str, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        return self._rows.scan(table, start, end)

    def write(
        self,
        changes: Mapping[str, Mapping[bytes, bytes | None]],
        reached: Mapping[str, Reached] | None = None,
        journal_position: JournalPosition | None = None,
    ) -> None:
        for table, rows in changes.items():
            self._rows.write(table, rows)

    def reached(self, table: str) -> Reached:
        return Reached(0)


class ScheduleState:
    """The state of a machine that keeps nothing but what falls due."""

    def __init__(self, rows: Rows) -> None:
        self.schedule = Schedule(SCHEDULE, rows)

    def tables(self) -> list[Any]:
        return [self.schedule]
