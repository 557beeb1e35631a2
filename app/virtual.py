"""One partition of a role in virtual time: what a runner does, with neither log nor wire nor clock."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from app.domain.out import Out
from app.ports import LogRecord, Machine, Rows
from app.streaming.ttl import TtlSweeper
from tables.schedule import due_ms_of

#: So many rows are written before as many are looked at, whether they mean anything still.
_SWEEP_ROWS = 200


class WritableRows(Rows, Protocol):
    """Rows that can be changed (``tables.rows.MemoryRows`` are)."""

    def write(self, table: str, changes: Mapping[bytes, bytes | None]) -> None:
        """None deletes a row."""
        ...


class VirtualPartition:
    """A machine over one partition's rows. Whatever is handed in is decided at the ``now`` that comes with it (Unix
    ms), and what it comes to is returned; nothing is carried out.

    ``batch``: so many decisions are taken before the rows are written.
    """

    def __init__(
        self, machine: Machine[Any, Any, Any], rows: WritableRows, partition: int = 0, *, batch: int = 1
    ) -> None:
        self.machine = machine
        self.rows = rows
        self.state: Any = machine.open(rows, partition)
        self._tables = self.state.tables()
        self._schedule = next(table for table in self._tables if table.spec.name == "schedule")
        self._sweeper = TtlSweeper(self._tables)
        self._batch = batch
        self._decided = 0
        self._written = 0

    def handle(self, record: LogRecord, now: int) -> Out:
        """Takes a record. Raises Invalid for one that the runner would make a dead letter; then nothing has changed."""
        return self._decide(lambda out: self.machine.handle(record, self.state, out, now), now)

    def settle(self, result: Any, now: int) -> Out:
        """Takes the result of a call that was asked for."""
        return self._decide(lambda out: self.machine.settle(result, self.state, out, now), now)

    def next_due(self) -> int | None:
        """When the next row of the schedule falls due, Unix ms; None: nothing waits."""
        first = self._schedule.scan(b"", None, 1)
        return due_ms_of(first[0][0]) if first else None

    def wake(self, now: int) -> Out | None:
        """Wakes what fell due first; None where nothing is due at ``now``."""
        due = self._schedule.due(now, 1)
        if not due:
            return None
        [(key, row)] = due

        def woken(out: Out) -> None:
            self._schedule.delete(key)
            self.machine.wake(key, row, self.state, out, now)

        return self._decide(woken, now)

    def store(self, now: int) -> None:
        """Writes what was decided, and deletes some of the rows that mean nothing any more."""
        if self._written >= _SWEEP_ROWS:
            self._sweeper.step(now, self._written)
            self._written = 0
        for table in self._tables:
            changes = table.changes()
            if changes:
                self.rows.write(table.spec.name, changes)
                self._written += len(changes)
            table.clear()
        self._decided = 0

    def sweep(self, now: int) -> None:
        """Deletes every row that means nothing any more."""
        most = 1 + max(sum(1 for _ in self.rows.scan(table.spec.name, b"", None)) for table in self._tables)
        for _ in range(2 * len(self._tables)):
            self._sweeper.step(now, most)
            self.store(now)

    def _decide(self, decision: Callable[[Out], None], now: int) -> Out:
        for table in self._tables:
            table.begin()
        out = Out()
        try:
            decision(out)
        except BaseException:
            for table in self._tables:
                table.rollback()
            raise
        self._decided += 1
        if self._decided >= self._batch:
            self.store(now)
        return out
