"""Deciding: the machine over one partition's tables, record by record. One that fails is undone alone.

Whatever a record leads to is encoded and weighed before the next one is taken, while it can still be undone: so nothing
that a record holds can keep a checkpoint from being made (docs/decisions/0007-bounded-checkpoints.md).
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import structlog
from msgspec.structs import replace

from app.domain.out import Mark, Out
from app.kafka.records import Unreadable
from app.ports import FailedReason, LogRecord, Machine, Rows
from app.streaming.failures import Failures
from app.streaming.retrying import after_failure
from app.streaming.store import StoreBroken
from schemas.dead import dead_key, dead_letter, encode_dead
from schemas.decode import Invalid
from schemas.sizes import OUTCOME_BYTES, limit_of, size_on_wire
from schemas.topics import DEAD

log = structlog.get_logger(__name__)


class Oversized(Exception):
    """What one record leads to is more than Kafka takes."""


class Decider:
    """What it decides lies in ``tables`` and in the batch's ``Out``: nothing of it is durable yet."""

    def __init__(
        self,
        machine: Machine,
        rows: Rows,
        partition: int,
        counted: Callable[[str, int], None],
        on_dead: Callable[[str, str], None],
    ) -> None:
        self._machine = machine
        self._state = machine.open(rows, partition)
        self.tables: Sequence[Any] = self._state.tables()
        self._schedule = next(t for t in self.tables if t.spec.name == "schedule")
        self._owned = {i.topic: i.owned for i in machine.intakes}
        self._counted = counted
        self._on_dead = on_dead
        self._failures = Failures()

    def handle(self, record: LogRecord, out: Out, now: int) -> None:
        """Raises StoreBroken."""
        if record.value is None:
            self._without_value(record, out, now)
            return
        mark = out.mark()
        try:
            self._machine.handle(record, self._state, out, now)
            self._weigh(out, mark)
        except Invalid as invalid:
            self._rollback(out, mark)
            if self._owned[record.topic]:
                self._dead(record, out, now, invalid.code, invalid.reason, invalid.field)
        except StoreBroken:
            raise  # nothing is wrong with the record
        except Oversized as oversized:
            self._rollback(out, mark)
            self._dead(record, out, now, "too_large", str(oversized), None)
        except Exception as error:
            self._rollback(out, mark)
            self._dead(record, out, now, "internal", f"internal error: {type(error).__name__}", None)
            self._failures.log("a record could not be handled", error, now, topic=record.topic, offset=record.offset)

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
        mark = out.mark()
        try:
            self._schedule.delete(key)
            self._machine.wake(key, due, self._state, out, now)
            self._weigh(out, mark)
        except StoreBroken:
            raise
        except Exception as error:
            self._rollback(out, mark)
            self._counted("due_failed", 1)
            self._failures.log("what fell due could not be handled", error, now, kind=due.kind, tries=due.tries + 1)
            self._retry_or_give_up(key, due, out, now, isinstance(error, Oversized))

    def _retry_or_give_up(self, key: bytes, due: Any, out: Out, now: int, too_large: bool) -> None:
        """Nothing that waits is ever forgotten: it has an end, or stays scheduled."""
        retry = after_failure(due.tries, lasting=too_large)
        if retry.give_up and self._give_up(key, due, out, now, "too_large" if too_large else "permanent"):
            return
        self._schedule.delete(key)
        self._schedule.at(now + retry.wait_ms, replace(due, tries=due.tries + 1))
        out.size += self._schedule.encode()
        self._schedule.begin()

    def _give_up(self, key: bytes, due: Any, out: Out, now: int, reason: FailedReason) -> bool:
        """Returns whether there was an end to give."""
        mark = out.mark()
        try:
            self._schedule.delete(key)
            if self._machine.give_up(key, due, self._state, out, now, reason):
                self._weigh(out, mark)
                self._counted("due_given_up", 1)
                log.error("gave up what fell due", role=self._machine.role, kind=due.kind, reason=reason)
                return True
        except StoreBroken:
            raise
        except Exception as error:
            self._failures.log("what fell due could not be given up", error, now, kind=due.kind)
        self._rollback(out, mark)
        return False

    def settle(self, result: Any, out: Out, now: int) -> None:
        """Raises StoreBroken. A result that can't be settled is left to the deadline of its call."""
        mark = out.mark()
        try:
            self._machine.settle(result, self._state, out, now)
            self._weigh(out, mark)
        except StoreBroken:
            raise
        except Exception as error:
            self._rollback(out, mark)
            self._counted("results_failed", 1)
            self._failures.log("the result of a call could not be settled", error, now)

    def changes(self) -> dict[str, dict[bytes, bytes | None]]:
        """The rows that the batch changed, by table."""
        return {t.spec.name: rows for t in self.tables if (rows := t.changes())}

    def stored(self) -> None:
        """The batch's changes are in the store."""
        for table in self.tables:
            table.stored()

    def _without_value(self, record: LogRecord, out: Out, now: int) -> None:
        if not isinstance(record, Unreadable):
            self._counted("empty", 1)
            return
        self._counted("unreadable", 1)
        if self._owned[record.topic]:
            self._dead(record, out, now, record.code, record.reason, None)

    def _weigh(self, out: Out, mark: Mark) -> None:
        """Encodes what has changed since ``mark``. Raises Oversized where Kafka wouldn't take it, and what encoders
        raise."""
        size, changed = 0, [table for table in self.tables if table.undo]  # (few of them, for most records)
        for table in changed:
            size += table.encode()
        for record in islice(out.records, mark.records, None):
            on_wire, limit = size_on_wire(record.key, record.value, record.headers), limit_of(record.topic)
            if on_wire > limit:
                raise Oversized(f"leads to a record of {on_wire} bytes for {record.topic}, which takes {limit}")
            size += on_wire
        if size > OUTCOME_BYTES:
            raise Oversized(f"leads to changes of {size} bytes, and a checkpoint takes {OUTCOME_BYTES} of one record")
        out.size += size
        for table in changed:
            table.begin()

    def _rollback(self, out: Out, mark: Mark) -> None:
        for table in self.tables:
            table.rollback()
        out.rollback(mark)

    def _dead(self, record: LogRecord, out: Out, now: int, code: str, reason: str, field: str | None) -> None:
        letter = dead_letter(record, code, reason, field, self._machine.role, now)
        key, value = dead_key(letter), encode_dead(letter)
        out.send(DEAD, key, value)
        out.size += size_on_wire(key, value)
        self._on_dead(record.topic, code)
