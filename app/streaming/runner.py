"""The runner of one partition: draws by urgency, decides a batch, makes it durable, and only then lets it act.

Order of a checkpoint: journal → changelogs and outputs → the store in one write → positions → calls. Never are two
batches of one partition open at once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from app.domain.out import Out
from app.ports import LogRecord, Machine, Performer, Urgency
from app.streaming.checkpoints import Checkpoints
from app.streaming.horizon import CommandsHorizon
from app.streaming.intake import Intakes, Lane
from app.streaming.journal import Bookmark, Fenced
from app.streaming.producing import BatchProducer
from app.streaming.restoring import Committed, Restorer, latest, start_positions, within
from app.streaming.store import PartitionStore, StoreBroken
from app.streaming.sweeping import Sweeper
from app.streaming.watching import Progress
from schemas.dead import DeadLetter, base64_of, encode_dead, headers_of
from schemas.decode import Invalid
from schemas.instants import rfc3339
from schemas.topics import COMMANDS, DEAD

log = structlog.get_logger(__name__)

#: The most time that a batch is handled for; half a dozen records to Kafka, and its waits, are shared by what it holds.
_HANDLING_S = 0.050
_MOST_DUE = 500
_IDLE_S = 0.25
_RETRY_DUE_MS = 60_000
_BAD_IN_A_ROW = 1_000
_TELL_EVERY = 500_000
#: Lanes of what a role is asked to do.
_ASKED = (Urgency.CRITICAL, Urgency.NORMAL, Urgency.BULK)
_SWEEP_EVERY_MS, _SWEEP_LEAST = 1_000, 50
#: What was heard of the commands' end is asked for again when it is so old, in ms.
_ASK_AGAIN_MS = 150
#: And no call is claimed on what is older: the call has to begin while it still counts (agents/calls.py).
_INFORMED_MS = 500


class TooManyBad(Exception):
    """So many records in a row failed that the fault is more likely ours than theirs."""


class Positions(Protocol):
    """Where the runner reads and notes the group's commits."""

    async def committed(self, partition: int) -> dict[str, Committed]: ...

    def note(self, partition: int, positions: Mapping[str, int], bookmark: Bookmark | None) -> None: ...


@dataclass(slots=True)
class Coming:
    """Calls that were decided and begin when their checkpoint is durable: they take room from their decision on."""

    calls: int = 0


@dataclass(frozen=True, slots=True)
class Parts:
    """What the runners of one process share."""

    machine: Machine
    producer: BatchProducer
    restorer: Restorer
    horizon: CommandsHorizon
    positions: Positions
    clock: Callable[[], int]
    performer: Performer | None
    crash: Callable[[BaseException], None]
    pause: Callable[[str, int], None]
    resume: Callable[[str, int], None]
    counted: Callable[[str, int], None]
    #: The process's name, for whoever reads the journal.
    owner: str = ""
    #: Has a topic's partition fetched from an offset on.
    fetch_again: Callable[[str, int, int], None] = lambda topic, partition, offset: None
    #: Seconds of real work, by which a batch is bounded.
    stopwatch: Callable[[], float] = time.perf_counter
    #: How often a partition's owner looks whether somebody else wrote to its changelogs.
    look_every_s: float = 10.0
    coming: Coming = field(default_factory=Coming)


class PartitionRunner:
    """Owns one partition's rows while this process has it."""

    def __init__(self, partition: int, store: PartitionStore, parts: Parts) -> None:
        self.partition = partition
        self.ready = asyncio.Event()
        self._parts = parts
        self._machine = parts.machine
        self._store = store
        self._state = parts.machine.open(store, partition)
        self._readable = parts.machine.open(store, partition)
        self._tables: Sequence[Any] = self._state.tables()
        self._schedule = next(t for t in self._tables if t.spec.name == "schedule")
        self._waiting: list[tuple[str, Sequence[LogRecord]]] = []
        self._intakes: Intakes | None = None
        self._results: deque[Any] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stored = asyncio.Event()
        self._stopping = False
        self._bad_in_a_row = 0
        self._sweeper = Sweeper(self._tables)
        self._written = 0
        self._swept_at = 0
        self._stored_commands = 0
        #: Rows restored, and records and results decided: what the watch looks at.
        self._restored = 0
        self._decided = 0
        self._busy = False
        self._horizon: tuple[int, int] = (-1, -1)
        self._asked_at = -1
        self._task: asyncio.Task[None] | None = None
        self._checkpoints = Checkpoints(
            partition,
            store,
            parts.machine.role,
            [t.spec.name for t in self._tables],
            parts.producer,
            parts.restorer,
            parts.horizon.ends,
            parts.look_every_s,
        )
        self._owned = {i.topic: i.owned for i in parts.machine.intakes}
        self._gated = any(i.gated for i in parts.machine.intakes)

    # --- life ---

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"partition-{self.partition}")

    async def drain(self, within_s: float) -> None:
        """Finishes the batch and the calls in flight, settles what came back, then stops. Late calls are left to
        their deadlines: whoever owns the partition next treats them as in doubt."""
        self._stopping = True
        self._wake.set()
        if self._task is None:
            return
        _, late = await asyncio.wait([self._task], timeout=within_s)
        for task in (*late, *self._calls):
            task.cancel()
        await asyncio.gather(*late, *self._calls, return_exceptions=True)

    def offer(self, topic: str, records: Sequence[LogRecord]) -> None:
        """Takes fetched records; pauses the topic's partition when too many wait."""
        if self._intakes is None:
            self._waiting.append((topic, records))
            return
        missing_from = self._intakes.offer(topic, records)
        if missing_from is not None:
            log.info("records are missing, fetched again", topic=topic, partition=self.partition, offset=missing_from)
            self._parts.fetch_again(topic, self.partition, missing_from)
            return
        lane = self._intakes.lanes[topic]
        if not lane.paused and len(lane.waiting) > Intakes.HIGH:
            lane.paused = True
            self._parts.pause(topic, self.partition)
        self._wake.set()

    async def read(self, view: str, user_id: str, params: Mapping[str, str], after: int | None, within_s: float) -> Any:
        """What the machine answers from stored rows, once commands up to offset ``after`` are stored.

        Raises TimeoutError where that takes longer than ``within_s``, LookupError for an unknown view.
        """
        async with asyncio.timeout(within_s):
            await self.ready.wait()
            while after is not None and self._stored_commands <= after:
                self._stored.clear()
                await self._stored.wait()
        try:
            return self._machine.read(view, user_id, params, self._readable, self._parts.clock())
        finally:
            for table in self._readable.tables():
                table.clear()

    @property
    def looked_at(self) -> float:
        """When it last saw to its changelogs, by the loop's time."""
        return self._checkpoints.looked_at

    def behind(self) -> int:
        """How many fetched records wait."""
        return sum(len(lane.waiting) for lane in self._intakes.lanes.values()) if self._intakes else 0

    def position(self, topic: str) -> int | None:
        """The next offset of the topic to handle; None as long as it isn't known."""
        return self._intakes.lanes[topic].position if self._intakes is not None else None

    def progress(self) -> dict[str, Progress]:
        """What has to get on here: restoring, then deciding what waits."""
        if not self.ready.is_set():
            return {"restoring": Progress(self._restored, True)}
        return {"deciding": Progress(self._decided, self._busy or self.behind() > 0)}

    def unread(self, end: Callable[[str, int], int | None]) -> int:
        """How many records wait of what is asked of the role: commands and receipts aren't counted. ``end``: where a
        topic's partition ends, as far as fetches have told; None: not known."""
        if self._intakes is None:
            return 0
        lanes = [lane for lane in self._intakes.lanes.values() if lane.intake.urgency in _ASKED]
        return sum(lane.behind(end(lane.intake.topic, self.partition)) for lane in lanes)

    async def _run(self) -> None:
        try:
            await self._open()
            self.ready.set()
            while not (self._stopping and not self._calls and not self._results):
                if not self._anything_to_do():
                    await self._sleep()
                await self._cycle()
                await self._checkpoints.look_now_and_then()
            with suppress(Fenced):  # somebody has the partition already: there is nothing left to see to
                await self._checkpoints.look()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            log.exception("partition stopped", role=self._machine.role, partition=self.partition)
            self._parts.crash(error)

    async def _open(self) -> None:
        started = time.monotonic()
        committed = await self._parts.positions.committed(self.partition)
        rows, owed = await self._checkpoints.open(self._parts.owner, latest(committed.values()), self._is_restored)
        positions = await self._positions(start_positions(committed, owed))
        self._stored_commands = positions.get(COMMANDS, 0)
        self._intakes = Intakes(self._machine.intakes, positions)
        for (
            topic,
            position,
        ) in positions.items():  # (the client began where the group's commit was, and may have dropped)
            self._parts.fetch_again(topic, self.partition, position)
        for topic, records in self._waiting:
            self.offer(topic, records)
        self._waiting.clear()
        log.info(
            "partition ready",
            role=self._machine.role,
            partition=self.partition,
            rows_restored=rows,
            checkpoints_repeated=int(owed.entry is not None),
            seconds=round(time.monotonic() - started, 2),
        )

    def _is_restored(self, rows: int, of: int) -> None:
        if rows // _TELL_EVERY > self._restored // _TELL_EVERY:
            log.info("restoring", role=self._machine.role, partition=self.partition, rows=rows, of=of)
        self._restored = rows

    async def _positions(self, known: Mapping[str, int]) -> dict[str, int]:
        """Where to begin in each topic, given what is known of where it was left."""
        bounds = await self._parts.restorer.bounds([i.topic for i in self._machine.intakes], self.partition)
        positions = {topic: begin for topic, (begin, _) in bounds.items()} | within(known, bounds)
        if lost := sorted(topic for topic in known if positions[topic] < known[topic]):
            log.error("topics end before what was read of them: read anew", topics=lost, partition=self.partition)
        if self._gated:
            # What retention took will never come: the commands are read to their end from where they begin.
            positions[COMMANDS] = max(bounds[COMMANDS][0], positions.get(COMMANDS, 0))
        return positions

    # --- drawing ---

    def _anything_to_do(self) -> bool:
        assert self._intakes is not None
        if self._results:
            return True
        return not self._stopping and (self._intakes.waits() or bool(self._due(1)))

    async def _sleep(self) -> None:
        self._wake.clear()
        if self._anything_to_do():
            return
        first = self._schedule.scan(b"", None, 1) if not self._stopping else []
        self._schedule.clear()
        wait_s = _IDLE_S
        if first:
            wait_s = min(wait_s, max(0.0, (int.from_bytes(first[0][0][:8], "big") - self._parts.clock()) / 1000))
        try:
            async with asyncio.timeout(wait_s + 0.001):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _cycle(self) -> None:
        assert self._intakes is not None
        if self._gated and not self._stopping and self._looks_wait() and not self._horizon_covers_all():
            await self._ask_horizon()
        now = self._parts.clock()
        out = Out(self._asked_at if self._gated and self._parts.performer is not None else None)
        stop_at = self._parts.stopwatch() + _HANDLING_S
        if self._stopping or self._is_informed(now):
            self._settle(out, now)
        if not self._stopping:
            handled = self._draw(out, now, stop_at)
            self._decided += handled
            self._parts.counted("records", handled)
            if not handled and not out.records:
                await asyncio.sleep(0.002)  # what waits can't be taken yet: commands are coming, or calls have no room
            self._sweep(now)
        self._busy = bool(out.records)
        self._parts.coming.calls += len(out.calls)
        try:
            await self._checkpoint(out)
            if out.calls:
                await asyncio.sleep(0)  # they have begun, and whoever makes them counts them
        finally:
            self._parts.coming.calls -= len(out.calls)
        self._busy = False
        self._resume_lanes()

    def _sweep(self, now: int) -> None:
        """Once a second, as many rows as were written since, and a few more."""
        if now - self._swept_at >= _SWEEP_EVERY_MS:
            self._sweeper.step(now, self._written + _SWEEP_LEAST)
            self._swept_at, self._written = now, 0

    def _looks_wait(self) -> bool:
        """Whether something is to be judged by what the commands say: a gated record, a result, the end of a wait."""
        assert self._intakes is not None
        return self._intakes.gated_wait() or bool(self._results) or bool(self._due(1))

    def _horizon_covers_all(self) -> bool:
        assert self._intakes is not None
        age_ms = self._parts.clock() - self._asked_at
        return self._horizon[1] >= self._intakes.fetches and 0 <= age_ms <= _ASK_AGAIN_MS

    async def _ask_horizon(self) -> None:
        """Learns how far the commands go. A process may stand still at any moment, so nothing learnt counts for
        long: who only waited for a retry has to hear what was said meanwhile, too."""
        assert self._intakes is not None
        fetches, asked_at = self._intakes.fetches, self._parts.clock()
        self._horizon = (await self._parts.horizon.end(self.partition), fetches)
        self._asked_at = asked_at

    def _is_informed(self, now: int) -> bool:
        """Whether all was handled that the commands said when they were asked about; for a role that makes calls also
        whether that was a moment ago. (The router need not wait for a slow answer to come sooner.)"""
        if not self._gated:
            return True
        fresh = self._parts.performer is None or 0 <= now - self._asked_at <= _INFORMED_MS
        return fresh and self._command_position() >= self._horizon[0]

    def _command_position(self) -> int:
        assert self._intakes is not None
        return self._intakes.lanes[COMMANDS].position or 0

    def _draw(self, out: Out, now: int, stop_at: float) -> int:
        assert self._intakes is not None
        handled = 0
        for lane in self._intakes.lanes.values():
            if lane.intake.urgency is Urgency.NORMAL or lane.intake.urgency is Urgency.BULK:
                handled += self._wake_due(out, now, stop_at)
            handled += self._draw_lane(lane, out, now, stop_at)
        if not any(lane.intake.urgency >= Urgency.NORMAL for lane in self._intakes.lanes.values()):
            handled += self._wake_due(out, now, stop_at)
        return handled

    def _draw_lane(self, lane: Lane, out: Out, now: int, stop_at: float) -> int:
        assert self._intakes is not None
        through: int | None = None
        if lane.intake.gated:
            through = self._horizon[1]
            if not self._is_informed(now):
                return 0
        handled, stopwatch, take = 0, self._parts.stopwatch, self._intakes.take
        bounded = self._parts.performer is not None
        while lane.waiting and stopwatch() < stop_at and not (bounded and not self._room(lane.intake.urgency, out)):
            record = take(lane, through)
            if record is None:
                break
            self._handle(record, out, now)
            handled += 1
        return handled

    def _room(self, urgency: Urgency, out: Out) -> bool:
        performer = self._parts.performer
        if performer is None or urgency <= Urgency.COMMANDS:
            return True
        return performer.room(urgency) > len(out.calls) + self._parts.coming.calls

    def _resume_lanes(self) -> None:
        assert self._intakes is not None
        for topic, lane in self._intakes.lanes.items():
            if lane.paused and len(lane.waiting) < Intakes.LOW:
                lane.paused = False
                self._parts.resume(topic, self.partition)

    # --- deciding ---

    def _begin(self, out: Out) -> tuple[int, int]:
        for table in self._tables:
            if table.undo:  # (most records change few tables, and this is asked for every record)
                table.begin()
        return out.mark()

    def _rollback(self, out: Out, mark: tuple[int, int]) -> None:
        for table in self._tables:
            table.rollback()
        out.rollback(mark)

    def _handle(self, record: LogRecord, out: Out, now: int) -> None:
        if record.value is None:
            self._parts.counted("empty", 1)
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

    def _dead(self, record: LogRecord, out: Out, now: int, reason: str, field: str | None) -> None:
        letter = DeadLetter(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp=record.timestamp,
            headers=headers_of(record.headers),
            key=base64_of(record.key),
            value=base64_of(record.value),
            reason=reason,
            field=field,
            role=self._machine.role,
            at=rfc3339(now),
        )
        out.send(DEAD, record.key, encode_dead(letter))
        self._parts.counted("dead", 1)

    def _due(self, limit: int) -> list[tuple[bytes, Any]]:
        due: list[tuple[bytes, Any]] = self._schedule.due(self._parts.clock(), limit)
        return due

    def _wake_due(self, out: Out, now: int, stop_at: float) -> int:
        woken = 0
        for key, due in self._schedule.due(now, _MOST_DUE) if self._is_informed(now) else ():
            if self._parts.stopwatch() >= stop_at or not self._room(Urgency.NORMAL, out):
                break
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
            woken += 1
        return woken

    def _settle(self, out: Out, now: int) -> None:
        uninformed = not self._is_informed(now)  # while it stops: commands are no longer fetched
        while self._results:
            result = self._results.popleft()
            if uninformed and self._parts.performer is not None:
                result = self._parts.performer.put_off(result)
            self._machine.settle(result, self._state, out, now)
            self._decided += 1

    # --- making it durable ---

    async def _checkpoint(self, out: Out) -> None:
        assert self._intakes is not None
        changes = {t.spec.name: rows for t in self._tables if (rows := t.changes())}
        positions = self._intakes.positions()
        if changes or out.records:
            bookmark = await self._checkpoints.make(positions, changes, out.records)
            self._parts.positions.note(self.partition, positions, bookmark)
            self._parts.counted("checkpoints", 1)
            self._written += sum(map(len, changes.values()))
        else:
            self._parts.positions.note(self.partition, positions, None)
        for table in self._tables:
            table.stored()
        self._stored_commands = positions.get(COMMANDS, 0)
        self._stored.set()
        self._parts.counted("calls", len(out.calls))
        self._parts.counted("moved", out.moved)
        for call in out.calls:
            self._begin_call(call)

    def _begin_call(self, call: Any) -> None:
        task = asyncio.create_task(self._perform(call))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _perform(self, call: Any) -> None:
        assert self._parts.performer is not None
        try:
            self._results.append(await self._parts.performer.perform(call))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._parts.crash(error)
        finally:
            self._wake.set()
