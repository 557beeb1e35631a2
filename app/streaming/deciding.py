"""Deciding: the machine over one partition's tables, record by record. One that fails is undone alone."""

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from app.domain.out import Out
from app.ports import LogRecord, Machine, Rows
from app.streaming.store import StoreBroken
from schemas.dead import dead_letter, encode_dead
from schemas.decode import Invalid
from schemas.topics import DEAD

log = structlog.get_logger(__name__)

_RETRY_DUE_MS = 60_000
_BAD_IN_A_ROW = 1_000


class TooManyBad(Exception):
    """So many records in a row failed that the fault is more likely ours than theirs."""


class Decider:
    """What it decides lies in ``tables`` and in the batch's ``Out``: nothing of it is durable yet."""

    def __init__(self, machine: Machine, rows: Rows, partition: int, counted: Callable[[str, int], None]) -> None:
        self._machine = machine
        self._state = machine.open(rows, partition)
        self.tables: Sequence[Any] = self._state.tables()
        self._schedule = next(t for t in self.tables if t.spec.name == "schedule")
        self._owned = {i.topic: i.owned for i in machine.intakes}
        self._counted = counted
        self._bad_in_a_row = 0

    def handle(self, record: LogRecord, out: Out, now: int) -> None:
        """Raises StoreBroken, TooManyBad."""
        if record.value is None:
            self._counted("empty", 1)
            return
        mark = self._begin(out)
        try:
            self._machine.handle(record, self._state, out, now)
            self._bad_in_a_row = 0
        except Invalid as invalid:
            self._rollback(out, mark)
            if self._owned[record.topic]:
                self._dead(record, out, now, invalid.reason, invalid.field)
        except StoreBroken:
            raise  # nothing is wrong with the record
        except Exception as error:
            log.exception("a record could not be handled", topic=record.topic, offset=record.offset)
            self._rollback(out, mark)
            self._dead(record, out, now, f"internal error: {type(error).__name__}", None)
            self._bad_in_a_row += 1
            if self._bad_in_a_row > _BAD_IN_A_ROW:
                raise TooManyBad(f"{_BAD_IN_A_ROW} records in a row") from error

    def due(self, now: int, most: int) -> list[tuple[bytes, Any]]:
        """The rows of ``schedule`` that fell due, for ``wake``."""
        due: list[tuple[bytes, Any]] = self._schedule.due(now, most)
        return due

    def not_before_ms(self) -> int | None:
        """Before it no row of ``schedule`` falls due, Unix ms; None: nothing waits."""
        not_before: int | None = self._schedule.not_before
        return not_before

    def wake(self, key: bytes, due: Any, out: Out, now: int) -> None:
        """Raises StoreBroken."""
        mark = self._begin(out)
        self._schedule.delete(key)
        try:
            self._machine.wake(key, due, self._state, out, now)
        except StoreBroken:
            raise
        except Exception:
            # It stays scheduled: nothing that waits is ever forgotten.
            log.exception("what fell due could not be handled", kind=due.kind)
            self._rollback(out, mark)
            self._schedule.delete(key)
            self._schedule.at(now + _RETRY_DUE_MS, due)

    def settle(self, result: Any, out: Out, now: int) -> None:
        self._machine.settle(result, self._state, out, now)

    def changes(self) -> dict[str, dict[bytes, bytes | None]]:
        """The rows that the batch changed, by table."""
        return {t.spec.name: rows for t in self.tables if (rows := t.changes())}

    def stored(self) -> None:
        """The batch's changes are in the store."""
        for table in self.tables:
            table.stored()

    def _begin(self, out: Out) -> tuple[int, int]:
        for table in self.tables:
            if table.undo:  # (most records change few tables, and this is asked for every record)
                table.begin()
        return out.mark()

    def _rollback(self, out: Out, mark: tuple[int, int]) -> None:
        for table in self.tables:
            table.rollback()
        out.rollback(mark)

    def _dead(self, record: LogRecord, out: Out, now: int, reason: str, field: str | None) -> None:
        letter = dead_letter(record, reason, field, self._machine.role, now)
        out.send(DEAD, record.key, encode_dead(letter))
        self._counted("dead", 1)
