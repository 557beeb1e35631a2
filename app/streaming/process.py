"""Runs the machine over one partition's tables, record by record. A record that fails is rolled back alone.

Whatever a record leads to is encoded and weighed before the next one is taken, while it can still be undone: so nothing
that a record holds can keep a checkpoint from being made (docs/decisions/0007-bounded-checkpoints.md).
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import structlog
from msgspec.structs import replace

from app.domain.out import Mark, Out
from app.failures import RateLimitedLog
from app.kafka.records import Unreadable
from app.ports import FailedReason, Failing, LogRecord, Machine, Poison, Rows
from app.streaming.poison import Ended, PoisonGuard
from app.streaming.store import StoreBroken
from app.streaming.timer_retries import after_failure
from schemas.dead import dead_key, dead_letter, encode_dead
from schemas.decode import Invalid
from schemas.sizes import OUTCOME_BYTES, limit_of, size_on_wire
from schemas.topics import DEAD

log = structlog.get_logger(__name__)

#: So many of what one record sets going are passed over one by one, before the record itself is said to fail.
_MOST_PASSED_OVER = 20


class Oversized(Exception):
    """What one record leads to is more than Kafka takes."""


class Processor:
    """What it decides lies in ``tables`` and in the batch's ``Out``: nothing of it is durable yet."""

    def __init__(
        self,
        machine: Machine[Any, Any, Any],
        rows: Rows,
        partition: int,
        counted: Callable[[str, int], None],
        on_dead: Callable[[str, str], None],
        guard: PoisonGuard | None = None,
    ) -> None:
        self._machine = machine
        self._partition = partition
        #: Rows of ``schedule`` that had their turn.
        self.woken = 0
        self._guard = guard or PoisonGuard()
        self._state = machine.open(rows, partition)
        self.tables: Sequence[Any] = self._state.tables()
        self._schedule = next(t for t in self.tables if t.spec.name == "schedule")
        self._owned = {i.topic: i.owned for i in machine.subscriptions}
        self._counted = counted
        self._on_dead = on_dead
        self._failures = RateLimitedLog()

    def handle(self, record: LogRecord, out: Out, now: int, passed_over: int = 0) -> None:
        """Raises StoreBroken. ``passed_over``: how much of what the record sets going was."""
        if record.value is None:
            self._without_value(record, out, now)
            return
        mark = out.mark()
        try:
            self._guard.record(record)
            self._machine.handle(record, self._state, out, now)
            self._weigh(out, mark)
        except Invalid as invalid:
            self._rollback(out, mark)
            if self._owned[record.topic]:
                self._dead(record, out, now, invalid.code, invalid.reason, invalid.field)
                self._end_refused(record, out, now, "permanent")
        except StoreBroken:
            raise  # nothing is wrong with the record
        except Oversized as oversized:
            self._rollback(out, mark)
            self._dead(record, out, now, "too_large", str(oversized), None)
            self._end_refused(record, out, now, "too_large")
        except Poison as poison:
            self._rollback(out, mark)
            self._dead(record, out, now, "poison", str(poison), None)
            if not (isinstance(poison, Ended) and poison.suspect.is_beyond_help):
                self._end_refused(record, out, now, "permanent")
            log.error("set poison aside", topic=record.topic, offset=record.offset, partition=self._partition)
        except Exception as error:
            self._rollback(out, mark)
            if self._pass_over(error, passed_over, out, now):
                self.handle(record, out, now, passed_over + 1)
                return
            self._dead(record, out, now, "internal", f"internal error: {type(error).__name__}", None)
            self._end_refused(record, out, now, "permanent")
            self._failures.log("a record could not be handled", error, now, topic=record.topic, offset=record.offset)
        finally:
            self._guard.end()

    def _end_refused(self, record: LogRecord, out: Out, now: int, reason: FailedReason) -> None:
        """Ends the send that a dead letter's record names. Where that fails, too, the letter is all there is."""
        mark = out.mark()
        try:
            self._machine.end_refused(record, self._state, out, now, reason)
            self._weigh(out, mark)
        except StoreBroken:
            raise
        except Invalid:
            self._rollback(out, mark)
        except Exception as error:
            self._rollback(out, mark)
            self._failures.log("a refused record's send could not be ended", error, now, topic=record.topic)

    def due(self, now: int, most: int) -> list[tuple[bytes, Any]]:
        """The rows of ``schedule`` that fell due, for ``wake``."""
        due: list[tuple[bytes, Any]] = self._schedule.due(now, most)
        return due

    def not_before_ms(self) -> int | None:
        """Before it no row of ``schedule`` falls due, Unix ms; None: nothing waits."""
        not_before: int | None = self._schedule.not_before
        return not_before

    def overdue_since(self, now: int) -> int | None:
        """When the oldest row of ``schedule`` fell due that wasn't woken yet, Unix ms; None: nothing is due."""
        since: int | None = self._schedule.overdue_since(now)
        return since

    def wake(self, key: bytes, due: Any, out: Out, now: int, passed_over: int = 0) -> None:
        """Raises StoreBroken."""
        self.woken += 1
        mark = out.mark()
        try:
            self._guard.due(self._partition, key)
            self._schedule.delete(key)
            self._machine.wake(key, due, self._state, out, now)
            self._weigh(out, mark)
        except StoreBroken:
            raise
        except Exception as error:
            self._rollback(out, mark)
            if self._pass_over(error, passed_over, out, now):
                self.wake(key, due, out, now, passed_over + 1)
                return
            self._counted("due_failed", 1)
            self._failures.log("what fell due could not be handled", error, now, kind=due.kind, tries=due.tries + 1)
            self._retry_or_give_up(key, due, out, now, error)
        finally:
            self._guard.end()

    def _pass_over(self, error: Exception, passed_over: int, out: Out, now: int) -> bool:
        """Takes that out of the way which keeps all else from being done. Returns whether it is worth another try."""
        if not isinstance(error, Failing) or passed_over >= _MOST_PASSED_OVER:
            return False
        if isinstance(error.__cause__, StoreBroken):
            raise error.__cause__
        mark = out.mark()
        try:
            self._machine.wake(error.key, error.due, self._state, out, now)
            self._weigh(out, mark)
        except StoreBroken:
            raise
        except Exception as another:
            self._rollback(out, mark)
            self._failures.log("what fails could not be passed over", another, now, kind=error.due.kind)
            return False
        self._counted("passed_over", 1)
        self._failures.log("passed over what fails", error, now, kind=error.due.kind)
        return True

    def _retry_or_give_up(self, key: bytes, due: Any, out: Out, now: int, error: Exception) -> None:
        """Nothing that waits is ever forgotten: it has an end, or stays scheduled."""
        too_large = isinstance(error, Oversized)
        retry = after_failure(due.tries, lasting=too_large, poison=isinstance(error, Poison))
        is_past_ending = isinstance(error, Ended) and error.suspect.is_beyond_help
        reason: FailedReason = "too_large" if too_large else "permanent"
        if retry.give_up and not is_past_ending and self._give_up(key, due, out, now, reason):
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
                log.error("gave up a due row", role=self._machine.role, kind=due.kind, reason=reason)
                return True
        except StoreBroken:
            raise
        except Exception as error:
            self._failures.log("what fell due could not be given up", error, now, kind=due.kind)
        self._rollback(out, mark)
        return False

    def settle(self, result: Any, out: Out, now: int, passed_over: int = 0) -> None:
        """Raises StoreBroken. A result that can't be settled is left to the deadline of its call."""
        mark = out.mark()
        try:
            self._guard.result(self._partition)
            self._machine.settle(result, self._state, out, now)
            self._weigh(out, mark)
        except StoreBroken:
            raise
        except Exception as error:
            self._rollback(out, mark)
            if self._pass_over(error, passed_over, out, now):
                self.settle(result, out, now, passed_over + 1)
                return
            self._counted("results_failed", 1)
            self._failures.log("the result of a call could not be settled", error, now)
        finally:
            self._guard.end()

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
                raise Oversized(f"leads to a record of {on_wire} bytes for {record.topic}, which accepts {limit}")
            size += on_wire
        if size > OUTCOME_BYTES:
            raise Oversized(
                f"leads to changes of {size} bytes, but a checkpoint accepts {OUTCOME_BYTES} for one record"
            )
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
