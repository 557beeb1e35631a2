"""Selects what is processed next of what waits in a partition, and checks that the commands before it are known.

By urgency; what fell due goes before the lanes of requests, with no more than a share of the batch. What is to be
evaluated by the commands waits until they were handled to an end that was read after it was (``end_offsets.py``); what
may bring a call waits until there is room for one.
"""

import asyncio
from collections.abc import Callable

import structlog

from app.domain.out import Out
from app.ports import Urgency
from app.streaming.buffers import Buffer, Fetch, FetchBuffers
from app.streaming.end_offsets import EndOffset, Known
from app.streaming.process import Processor
from app.streaming.runtime import Runtime
from schemas.batches import Drawn, due_mark
from schemas.sizes import CHECKPOINT_BYTES
from schemas.topics import COMMANDS

log = structlog.get_logger(__name__)

#: The most time that a batch is drawn for. What it holds shares half a dozen records to Kafka, and waits of Kafka; but
#: the partitions of a process have their turns one after the other, and what is urgent waits for those that have begun.
_DRAWING_S = 0.020
#: The same while something urgent waits in any partition of the process.
_HURRIED_S = 0.005
#: What fell due takes at most this part of a batch's time and bytes as long as less urgent records wait behind it:
#: thousands of rows may be due at once, as at a night's end.
_DUE_SHARE = 0.5
_MOST_DUE = 500
#: What fell due waits for no room that a lane of requests would need: it brings no call, or one that takes its turn.
_DUE = Urgency.RECEIPTS
#: Lanes of what a role is asked to do.
_ASKED = (Urgency.CRITICAL, Urgency.NORMAL, Urgency.BULK)
#: The known end of the commands is asked for again when it is so old, in ms.
_ASK_AGAIN_MS = 150
#: And no call is claimed on what is older: the call has to begin while it still counts (agents/sender/calls.py).
_INFORMED_MS = 500


class Selection:
    """Draws from one partition's lanes and its schedule."""

    def __init__(self, partition: int, subscriptions: FetchBuffers, processor: Processor, parts: Runtime) -> None:
        self._partition = partition
        self._fetched = subscriptions
        self._buffers = subscriptions.buffers
        self._processor = processor
        self._runtime = parts
        self._gated = any(buffer.subscription.gated for buffer in self._buffers.values())
        self._known = Known()
        self._asking: asyncio.Task[None] | None = None
        #: What the latest ``draw`` has drawn, in order.
        self.drawn: list[Drawn] = []

    # --- what is fetched ---

    def offer(self, fetched: Fetch) -> None:
        """Takes what was fetched, and what its fetch reported of the commands; pauses the topic's partition when too
        many records wait."""
        topic, end_offset = fetched.topic, fetched.end_offset
        missing_from = self._fetched.offer(fetched, self._runtime.clock())
        if missing_from is not None:
            log.info("records are missing: fetching again", topic=topic, partition=self._partition, offset=missing_from)
            self._runtime.fetch_again(topic, self._partition, missing_from)
            return
        if not fetched.records:
            return
        buffer = self._buffers[topic]
        if buffer.subscription.urgency is Urgency.CRITICAL:
            self._runtime.hurry.partitions.add(self._partition)
        self._known.report(self._fetched.fetches, end_offset)
        if end_offset is None and buffer.subscription.gated and not buffer.subscription.patient:
            self._ask()  # while the checkpoint in hand is made durable
        if not buffer.paused and buffer.is_full:
            buffer.paused = True
            self._runtime.pause(topic, self._partition)

    def resume(self) -> None:
        """Has fetched again what was paused and has room now."""
        for topic, buffer in self._buffers.items():
            if buffer.paused and buffer.has_room:
                buffer.paused = False
                self._runtime.resume(topic, self._partition)

    def positions(self) -> dict[str, int]:
        return self._fetched.positions()

    def position(self, topic: str) -> int | None:
        return self._buffers[topic].position

    def behind(self) -> int:
        """How many fetched records wait."""
        return sum(len(buffer.waiting) for buffer in self._buffers.values())

    def waits_since(self, topic: str, end: int | None) -> int | None:
        """The time of the topic's oldest record that isn't handled, Unix ms; None: all up to its end is."""
        return self._buffers[topic].waits_since(end, self._runtime.clock())

    def unread(self, end: Callable[[str, int], int | None]) -> int:
        """How many records wait of what is asked of the role. ``end``: where a topic's partition ends, if it is
        known."""
        asked = [buffer for buffer in self._buffers.values() if buffer.subscription.urgency in _ASKED]
        return sum(buffer.behind(end(buffer.subscription.topic, self._partition)) for buffer in asked)

    # --- what is known ---

    def due_ms(self, now: int) -> int | None:
        """When there will be something to draw of what is known now, Unix ms (0: at once); None: there won't be."""
        known = (self._fetched.due_ms(now), self._processor.not_before_ms())
        return min((ms for ms in known if ms is not None), default=None)

    async def learn(self, results: bool) -> None:
        """Learns how far the commands go, if something is to be evaluated by them. ``results``: whether some wait."""
        if self._gated and (self._fetched.gated_wait() or results or self._is_due()) and not self._covers_all():
            await asyncio.shield(self._ask())

    def known_at(self, now: int) -> int | None:
        """Up to when calls know all commands, Unix ms (0: not for long); None where that is of no interest."""
        if not self._gated or self._runtime.executor is None:
            return None
        return self._known.since if self.is_informed(now) else 0

    @property
    def fresh_since(self) -> float | None:
        """When what calls know was known, in seconds of the clock that nobody sets; None: see ``known_at``."""
        return None if self._runtime.executor is None else min(self._known.fresh_since, self._runtime.monotonic())

    def is_informed(self, now: int) -> bool:
        """Whether all commands were handled up to their end as it was read; for a role that makes calls also
        whether that was a moment ago. (The router need not wait for a slow answer to come sooner.)"""
        if not self._gated:
            return True
        fresh = self._runtime.executor is None or self._is_younger(now, _INFORMED_MS)
        return fresh and (self._buffers[COMMANDS].position or 0) >= self._known.end

    def waits_for_transaction(self) -> bool:
        """Whether what is to be evaluated waits for commands that lie behind an open transaction."""
        if not self._gated:
            return False
        commands = self._buffers[COMMANDS]
        behind = not commands.waiting and (commands.position or 0) < self._known.end
        return behind and self._runtime.is_held(COMMANDS, self._partition)

    def may_wake(self) -> bool:
        """Whether nothing but this process keeps it from waking what fell due: calls have room, and no open transaction
        holds back what is to be known first."""
        return self._room(_DUE) and not self.waits_for_transaction()

    def _is_due(self) -> bool:
        return bool(self._processor.due(self._runtime.clock(), 1))

    def _covers_all(self) -> bool:
        return self._known.fetches >= self._fetched.fetches and self._is_younger(self._runtime.clock(), _ASK_AGAIN_MS)

    def _is_younger(self, now: int, age_ms: int) -> bool:
        """Whether what is known of the commands is at most so old, by the clock that may be set and by the other."""
        by_monotonic_ms = (self._runtime.monotonic() - self._known.fresh_since) * 1000
        return 0 <= now - self._known.since <= age_ms and by_monotonic_ms <= age_ms

    def _ask(self) -> "asyncio.Task[None]":
        """One question at a time."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._read_end())
        return self._asking

    async def _read_end(self) -> None:
        """A process may stand still at any moment, so nothing learnt counts for long: who only waited for a retry has
        to learn of the commands since, too."""
        fetches, since, fresh_since = self._fetched.fetches, self._runtime.clock(), self._runtime.monotonic()
        end = await self._runtime.end_offsets.end(self._partition)
        self._known.answer(fetches, EndOffset(end, since, fresh_since))

    def abandon(self) -> list[asyncio.Task[None]]:
        """Nothing more is drawn. Returns what was under way, cancelled."""
        self._runtime.hurry.partitions.discard(self._partition)
        if self._asking is None:
            return []
        self._asking.cancel()
        return [self._asking]

    # --- drawing ---

    def draw(self, out: Out, now: int) -> int:
        """Has decided what may be, for a while, or until it is enough for a checkpoint. Returns how much that was.

        What fell due goes before the lanes of requests, within its share, and behind them with what is left over.
        """
        self.drawn = []
        drawn, stopwatch = 0, self._runtime.stopwatch
        stop_at = stopwatch() + _DRAWING_S
        due_s, due_bytes = _DRAWING_S * _DUE_SHARE, CHECKPOINT_BYTES * _DUE_SHARE
        for buffer in self._buffers.values():
            if buffer.subscription.urgency >= Urgency.NORMAL:
                began, size = stopwatch(), out.size
                drawn += self._draw_due(out, now, stop_at, min(stop_at, began + due_s), size + due_bytes)
                due_s, due_bytes = due_s - (stopwatch() - began), due_bytes - (out.size - size)
            drawn += self._draw_buffer(buffer, out, now, stop_at)
        return drawn + self._draw_due(out, now, stop_at, stop_at, CHECKPOINT_BYTES)

    def _draw_buffer(self, buffer: Buffer, out: Out, now: int, stop_at: float) -> int:
        through: int | None = None
        if buffer.subscription.gated:
            through = self._known.fetches
            if not self.is_informed(now):
                return 0
            # (The batch's own commands may have been missing.)
            out.known_at, out.fresh_since = self.known_at(now), self.fresh_since
        drawn, stopwatch, take, handle = 0, self._runtime.stopwatch, self._fetched.take, self._processor.handle
        bounded, hurry, urgency = self._runtime.executor is not None, self._runtime.hurry, buffer.subscription.urgency
        hurried_at = _hurried_at(stop_at) if urgency > Urgency.CRITICAL else stop_at
        first = last = 0
        while buffer.waiting and out.size < CHECKPOINT_BYTES and not (bounded and not self._room(urgency)):
            spent = stopwatch()
            if spent >= stop_at or (spent >= hurried_at and hurry.is_on()):
                break
            record = take(buffer, through)
            if record is None:
                break
            handle(record, out, now)
            last = record.offset
            first = first if drawn else last
            drawn += 1
        if drawn:
            self.drawn.append(Drawn(buffer.subscription.topic, drawn, first, last))
        if urgency is Urgency.CRITICAL and not buffer.waiting:
            hurry.partitions.discard(self._partition)
        return drawn

    def _draw_due(self, out: Out, now: int, stop_at: float, until: float, most_bytes: float) -> int:
        """``until``, ``most_bytes``: where its share of the batch ends."""
        if not self.is_informed(now) or self._runtime.stopwatch() >= until:
            return 0
        drawn, out.known_at, out.fresh_since = 0, self.known_at(now), self.fresh_since
        keys: list[bytes] = []
        stopwatch, hurry, hurried_at = self._runtime.stopwatch, self._runtime.hurry, _hurried_at(stop_at)
        for key, due in self._processor.due(now, _MOST_DUE):
            spent = stopwatch()
            # Finding them may take longer than the share, behind thousands of deleted rows: one goes on all the same.
            if (drawn and spent >= until) or (spent >= hurried_at and hurry.is_on()):
                break
            if out.size >= min(most_bytes, CHECKPOINT_BYTES) or not self._room(_DUE):
                break
            self._processor.wake(key, due, out, now)
            keys.append(key)
            drawn += 1
        if keys:
            self.drawn.append(Drawn("", drawn, dues=b"".join(map(due_mark, keys))))
        return drawn

    def _room(self, urgency: Urgency) -> bool:
        executor = self._runtime.executor
        if executor is None or urgency <= Urgency.COMMANDS:
            return True
        return executor.room(urgency) > 0


def _hurried_at(stop_at: float) -> float:
    """When a batch ends that was drawn until ``stop_at``, if something urgent waits."""
    return stop_at - _DRAWING_S + _HURRIED_S
