"""The runner of one partition. In each cycle it selects records (``select.py``), processes them (``process.py``), makes
the batch durable (``checkpoints.py``), and begins its calls (``calls.py``) once its entry is in the journal. It never
has two open batches."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from app.domain.out import Out
from app.streaming.buffers import Fetch, FetchBuffers
from app.streaming.calls import Calls
from app.streaming.checkpoints import Checkpoints
from app.streaming.journal import Fenced
from app.streaming.process import Processor
from app.streaming.reclaim import Reclaimer
from app.streaming.recording import BatchRecorder
from app.streaming.restore import latest, start_positions, within
from app.streaming.runtime import Runtime
from app.streaming.select import Selection
from app.streaming.stall_detection import Progress
from app.streaming.store import PartitionStore
from app.streaming.ttl import TtlSweeper
from app.streaming.views import AUDIT, TableViews
from schemas.sizes import CHECKPOINT_BYTES
from schemas.topics import COMMANDS

log = structlog.get_logger(__name__)

_IDLE_S, _PAUSE_S = 0.25, 0.010
_LOG_EVERY = 500_000
#: The view that says how far erasures have reached; every role with tables has it.
RECLAIMING = "reclaiming"
#: What fell due so long ago should have had its turn.
_OVERDUE_S = 1.0
_SWEEP_EVERY_MS, _SWEEP_LEAST, _SWEEP_MOST = 1_000, 50, 1_000


class PartitionRunner:
    """Owns one partition's rows while this process has it."""

    def __init__(self, partition: int, store: PartitionStore, parts: Runtime) -> None:
        self.partition = partition
        self.ready = asyncio.Event()
        self._runtime = parts
        self._machine = parts.machine
        self._store = store
        self._processor = Processor(parts.machine, store, partition, parts.counted, parts.on_dead, parts.guard)
        self._readable = parts.machine.open(store, partition)
        self._ttl_sweeper = TtlSweeper(self._processor.tables)
        #: Rows written since the last sweep began, and those that it has yet to look at.
        self._written = self._to_sweep = 0
        self._swept_at = 0
        self._recorder = BatchRecorder(parts.machine.role, parts.catalog_mark)
        self._views = TableViews(store, [t.spec.name for t in self._processor.tables], parts.clock)
        self._calls = Calls(parts, self._nudge)
        self._checkpoints = Checkpoints(
            partition,
            store,
            parts.machine.role,
            [t.spec.name for t in self._processor.tables],
            parts.producer,
            parts.restorer,
            parts.end_offsets.ends,
            parts.look_every_s,
            parts.clock,
        )
        self._reclaimer: Reclaimer | None = None
        if parts.erasure is not None:
            self._reclaimer = Reclaimer(
                partition, store, self._checkpoints, parts.restorer.gone, parts.erasure, parts.clock, parts.compactor
            )
        self._waiting: list[Fetch] = []
        #: None until the partition is open.
        self._selection: Selection | None = None
        self._wake = asyncio.Event()
        self._stored = asyncio.Event()
        self._stored_commands = 0
        self._stopping = False
        #: Rows restored, and records and results decided: what the watch looks at.
        self._restored = 0
        self._decided = 0
        #: Whether it makes a checkpoint.
        self.is_busy = False
        self._task: asyncio.Task[None] | None = None

    # --- what others ask of it ---

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"partition-{self.partition}")

    async def drain(self, within_s: float) -> None:
        """Finishes the batch and the calls in flight, settles what came back, then stops. Late calls are left to
        their deadlines: whoever owns the partition next treats them as in doubt."""
        self._stopping = True
        self._nudge()
        if self._task is None:
            return
        _, late = await asyncio.wait([self._task], timeout=within_s)
        for task in late:
            task.cancel()
        self._views.close()
        if self._reclaimer is not None:
            await self._reclaimer.stop()
        asking = self._selection.abandon() if self._selection is not None else []
        await asyncio.gather(*late, *asking, *self._calls.abandon(), return_exceptions=True)

    def offer(self, fetched: Fetch) -> None:
        if self._selection is None:
            self._waiting.append(fetched)
        else:
            self._selection.offer(fetched)
            self._nudge()

    async def read(self, view: str, user_id: str, params: Mapping[str, str], after: int | None, within_s: float) -> Any:
        """What the machine answers from stored rows, once commands up to offset ``after`` are stored.

        Raises TimeoutError where that takes longer than ``within_s``, LookupError for an unknown view.
        """
        async with asyncio.timeout(within_s):
            await self.ready.wait()
            while after is not None and self._stored_commands <= after:
                self._stored.clear()
                await self._stored.wait()
            if view == AUDIT:
                return await self._views.answer(params)
        if view == RECLAIMING:
            return self._reclaimer and self._reclaimer.state(self._runtime.owner)
        try:
            return self._machine.read(view, user_id, params, self._readable, self._runtime.clock())
        finally:
            for table in self._readable.tables():
                table.clear()

    @property
    def looked_at(self) -> float:
        """When it last saw to its changelogs, by the loop's time."""
        return self._checkpoints.looked_at

    def behind(self) -> int:
        """How many fetched records wait."""
        return self._selection.behind() if self._selection is not None else 0

    def position(self, topic: str) -> int | None:
        """The next offset of the topic to handle; None as long as it isn't known."""
        return self._selection.position(topic) if self._selection is not None else None

    def waits_since(self, topic: str, end: int | None) -> int | None:
        """The time of the topic's oldest record that isn't handled, Unix ms; None where there is none. ``end``: the
        topic's, as far as it is known."""
        return self._selection.waits_since(topic, end) if self._selection is not None else None

    def progress(self) -> dict[str, Progress]:
        """What has to get on here: restoring, then deciding what waits, and waking what fell due; unless that waits
        for commands behind an open transaction, which nobody here can end."""
        if not self.ready.is_set():
            return {"restoring": Progress(self._restored, True)}
        waits = self.behind() > 0 and not (self._selection is not None and self._selection.waits_for_transaction())
        is_overdue = self._selection is not None and self.overdue_s() > _OVERDUE_S and self._selection.may_wake()
        return {
            "deciding": Progress(self._decided, self.is_busy or waits),
            "timers": Progress(self._processor.woken, is_overdue),
        }

    def overdue_s(self) -> float:
        """How long the oldest due row has waited for its turn, in seconds; 0: nothing is due."""
        now = self._runtime.clock()
        since = self._processor.overdue_since(now) if self.ready.is_set() else None
        return 0.0 if since is None else max(0, now - since) / 1000

    def unread(self, end: Callable[[str, int], int | None]) -> int:
        """How many records wait of what is asked of the role: commands and receipts aren't counted. ``end``: where a
        topic's partition ends, as far as fetches have reported; None: not known."""
        return self._selection.unread(end) if self._selection is not None else 0

    def _nudge(self) -> None:
        self._wake.set()

    # --- life ---

    async def _run(self) -> None:
        try:
            self._selection = await self._open()
            self.ready.set()
            while not (self._stopping and not self._calls.open()):
                await self._sleep(self._selection)
                await self._cycle(self._selection)
                await self._checkpoints.look_now_and_then()
                self._views.step()
                if self._reclaimer is not None:
                    await self._reclaimer.step(self._selection.positions)
            with suppress(Fenced):  # somebody has the partition already: there is nothing left to see to
                await self._checkpoints.look()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            log.exception("partition stopped", role=self._machine.role, partition=self.partition)
            self._runtime.crash(error)

    async def _open(self) -> Selection:
        started = time.monotonic()
        committed = await self._runtime.positions.committed(self.partition)
        rows, pending_entry = await self._checkpoints.open(
            self._runtime.owner, latest(committed.values()), self._is_restored
        )
        positions = await self._positions(start_positions(committed, pending_entry))
        self._stored_commands = positions.get(COMMANDS, 0)
        selection = Selection(
            self.partition, FetchBuffers(self._machine.subscriptions, positions), self._processor, self._runtime
        )
        for topic, position in positions.items():  # (the client began at the group's commit, and may have dropped)
            self._runtime.fetch_again(topic, self.partition, position)
        for fetched in self._waiting:
            selection.offer(fetched)
        self._waiting.clear()
        log.info(
            "partition ready",
            role=self._machine.role,
            partition=self.partition,
            rows_restored=rows,
            checkpoints_repeated=int(pending_entry.entry is not None),
            seconds=round(time.monotonic() - started, 2),
        )
        return selection

    def _is_restored(self, rows: int, of: int) -> None:
        if rows // _LOG_EVERY > self._restored // _LOG_EVERY:
            log.info("restoring", role=self._machine.role, partition=self.partition, rows=rows, of=of)
        self._restored = rows

    async def _positions(self, known: Mapping[str, int]) -> dict[str, int]:
        """Where to begin in each topic, given what is known of where it was left."""
        subscriptions = self._machine.subscriptions
        bounds = await self._runtime.restorer.bounds([i.topic for i in subscriptions], self.partition)
        positions = {topic: begin for topic, (begin, _) in bounds.items()} | within(known, bounds)
        if lost := sorted(topic for topic in known if positions[topic] < known[topic]):
            log.error("topics end before the positions read: reading them anew", topics=lost, partition=self.partition)
        if any(i.gated for i in subscriptions):
            # What retention took will never come: the commands are read to their end from where they begin.
            positions[COMMANDS] = max(bounds[COMMANDS][0], positions.get(COMMANDS, 0))
        return positions

    # --- the cycle ---

    def _wait_s(self, selection: Selection) -> float | None:
        """How long it is until there is something to do of what is known now; None: there won't be."""
        if self._stopping:
            return 0.0 if self._calls.results else None
        now = self._runtime.clock()
        known = (selection.due_ms(now), self._calls.due_ms(now))
        return min(((ms - now) / 1000 for ms in known if ms is not None), default=None)

    async def _sleep(self, selection: Selection) -> None:
        """Until there is something to do, or for a while."""
        time_of = asyncio.get_running_loop().time
        until = time_of() + _IDLE_S
        while (left_s := until - time_of()) > 0:
            self._wake.clear()
            wait_s = self._wait_s(selection)
            if wait_s is not None and wait_s <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s if wait_s is None else min(left_s, wait_s)):
                    await self._wake.wait()
            if self._stopping:
                return

    async def _pause(self) -> None:
        """What waits can't be taken yet: commands are coming, or there is no room for calls until one ends, perhaps one
        of another partition's."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE_S):
                await self._wake.wait()

    async def _cycle(self, selection: Selection) -> None:
        self._wake.clear()
        if not self._stopping:
            await selection.learn(bool(self._calls.results))
        now = self._runtime.clock()
        out = Out(selection.known_at(now), self._runtime.guard.works_on, selection.fresh_since)
        informed, held = selection.is_informed(now), selection.waits_for_transaction()
        if self._stopping or informed or held:
            self._settle(out, now, informed and not self._stopping)
        if not self._stopping:
            drawn = selection.draw(out, now)
            self._recorder.note(now, selection.drawn)
            self._decided += drawn
            self._runtime.counted("records", drawn)
            if not drawn and not out.records:
                await self._pause()
            self._sweep(now)
        self.is_busy = bool(out.records)
        await self._make_durable(out, selection.positions())
        self.is_busy = False
        selection.resume()

    def _settle(self, out: Out, now: int, informed: bool) -> None:
        executor, results = self._runtime.executor, self._calls.results
        while results and out.size < CHECKPOINT_BYTES:
            result = results.popleft()
            if executor is not None and not informed:  # it stops, or commands can't be read: nothing more is begun
                result = executor.put_off(result)
            self._processor.settle(result, out, now)
            self._decided += 1

    def _sweep(self, now: int) -> None:
        """Once a second, as many rows as were written since, and a few more; in parts that fit a checkpoint."""
        if now - self._swept_at >= _SWEEP_EVERY_MS:
            self._to_sweep += self._written + _SWEEP_LEAST
            self._swept_at, self._written = now, 0
        if self._to_sweep:
            most = min(self._to_sweep, _SWEEP_MOST)
            self._ttl_sweeper.step(now, most)
            self._to_sweep -= most

    async def _make_durable(self, out: Out, positions: dict[str, int]) -> None:
        """The batch's checkpoint, then its positions. Its calls begin as soon as their claims lie in the journal:
        whoever comes after us carries the entry out."""
        changes = self._processor.changes()
        if changes or out.records:
            records = self._recorder.recorded(out.records, self._checkpoints.journaled)
            journal_position = await self._checkpoints.make(positions, changes, records, partial(self._journaled, out))
            self._runtime.positions.note(self.partition, positions, journal_position)
            self._runtime.counted("checkpoints", 1)
            self._written += self._ttl_sweeper.written(changes)
        else:
            self._journaled(out)
            self._runtime.positions.note(self.partition, positions, None)
        self._processor.stored()
        self._stored_commands = positions.get(COMMANDS, 0)
        self._stored.set()
        self._runtime.counted("moved", out.moved)
        self._runtime.counted("tokens_moved", out.tokens_moved)
        self._runtime.counted("unknown", out.unknown)

    def _journaled(self, out: Out) -> None:
        """Nothing can undo the batch any more. It is counted here, and so once: an entry that a later owner carries out
        was counted by the process that wrote it."""
        self._calls.begin(out)
        if out.counted:
            self._runtime.on_durable(out.counted)
        if out.spans:
            self._runtime.on_spans(out.spans)
