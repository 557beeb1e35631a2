"""One hook at work: it reads ``notify_lifecycle`` for itself, so that nobody waits for its receiver but it."""

import asyncio
from collections.abc import Callable, Collection, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from agents.hooks.window import Delivery, Window
from app.domain.hooks import Answer, body_of, is_given_up
from app.kafka.consumers import LogConsumer
from app.kafka.records import Unreadable
from app.metrics import HookMetrics
from app.store.hook_positions import Place
from app.store.lifecycle_rows import Hides, redacted
from app.store.publisher import PublishError
from schemas.decode import Invalid
from schemas.hooks import Hook, HookPosition, PendingCall
from schemas.lifecycle import LifecycleEvent, read_lifecycle
from schemas.topics import LIFECYCLE

log = structlog.get_logger(__name__)

_POLL_MS = 250
_SAVE_S = 1.0
_BACKOFF_S = 1.0
#: What is fetched ahead for one hook: there may be many.
_FETCH = {"max_partition_fetch_bytes": 256 * 1024, "fetch_max_bytes": 2 * 1024 * 1024}
#: Calls that are under way when a stream ends get so long.
_GRACE_S = 2.0


_FORESEEN = (KafkaError, PublishError)


def is_foreseen(error: Exception) -> bool:
    """Whether only the log was away, whichever task of a group found out."""
    return error.split(_FORESEEN)[1] is None if isinstance(error, ExceptionGroup) else isinstance(error, _FORESEEN)


class Span(NamedTuple):
    """Of a replay: what was recorded in ``[from_ms, to_ms)``."""

    from_ms: int
    to_ms: int


class Calling(Protocol):
    """See ``HookCaller``."""

    async def call(self, url: str, secret: str, event_id: str, body: bytes) -> Answer: ...


Save = Callable[[Mapping[Place, HookPosition | None]], Any]


@dataclass(frozen=True, slots=True)
class Around:
    """What all streams of a process share. ``known``: the positions that are remembered, kept up to date here; ``save``
    makes them durable. ``disable``: called with a hook that is given up, and why. ``clock``: Unix ms."""

    client_options: Mapping[str, Any]
    caller: Calling
    known: MutableMapping[Place, HookPosition]
    save: Save
    disable: Callable[[Hook, str], Any]
    hides: Hides
    metrics: HookMetrics
    clock: Callable[[], int]


class HookStream:
    """Calls a hook for what is recorded in some partitions, from where it was, until it is cancelled or, with a
    ``span``, the end of that. ``secret``: the hook's own."""

    def __init__(
        self,
        hook: Hook,
        secret: str,
        partitions: Collection[int],
        around: Around,
        replay_id: str | None = None,
        span: Span | None = None,
    ) -> None:
        self.name = hook.id if replay_id is None else f"{hook.id}/{replay_id}"
        self.window = Window()
        self._hook = hook
        self._secret = secret
        self._statuses = frozenset(hook.statuses)
        self._partitions = sorted(partitions)
        self._around = around
        self._span = span
        self._following: dict[int, int] = {}
        self._until: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._changed = asyncio.Event()
        self._is_ending = False

    async def run(self) -> None:
        """Until it is cancelled, or over. Whatever fails harms this hook alone, which goes on where it was."""
        while not self._is_ending:
            try:
                await self._once()
                return
            except Exception as error:
                trace = None if is_foreseen(error) else error
                log.warning("a hook is taken up again", hook=self._hook.id, exc_info=trace)
            await asyncio.sleep(_BACKOFF_S)

    async def end(self) -> None:
        """No call begins any more; returns when none is under way, after a while in any case."""
        self._is_ending = True
        self._changed.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                while self.window.calls:
                    await self._wait(None)

    def lag(self, partition: int) -> tuple[int, int | None]:
        """How many records it hasn't got over, and when the oldest in hand was recorded (None: none is)."""
        following = self._following.get(partition)
        if following is None:
            return 0, None
        oldest = self.window.oldest(partition)
        at = following if oldest is None else oldest.offset
        end = self._until.get(partition, self._ends.get(partition, following))
        return max(0, end - at), None if oldest is None else oldest.recorded_at

    async def _once(self) -> None:
        remembered = {number: self._around.known.get(Place(self.name, number)) for number in self._partitions}
        if all(_is_over(position) for position in remembered.values()):
            return
        since = [p.failing_since for p in remembered.values() if p is not None and p.failing_since is not None]
        self.window = Window(min(since, default=None))
        consumer = LogConsumer(**{**self._around.client_options, **_FETCH}, group_id=None, auto_offset_reset="earliest")
        await consumer.start()
        try:
            await self._take_up(consumer, remembered)
            async with asyncio.TaskGroup() as group:
                saving = group.create_task(self._save_now_and_then())
                calling = group.create_task(self._call(group))
                await self._read(consumer)
                while self.window.waiting:  # (of a replay: the rest)
                    await self._wait(None)
                calling.cancel()
                saving.cancel()
        finally:
            await self._save()
            await consumer.stop()

    # --- where it is ---

    async def _take_up(self, consumer: LogConsumer, remembered: Mapping[int, HookPosition | None]) -> None:
        places = {number: TopicPartition(LIFECYCLE, number) for number in self._partitions}
        consumer.assign(list(places.values()))
        positions = {n: remembered[n] or await self._first(consumer, place) for n, place in places.items()}
        for number, place in places.items():
            consumer.seek(place, positions[number].next)
        ends = await consumer.end_offsets(list(places.values()))
        for number, place in places.items():
            position = positions[number]
            if position.until is not None:
                self._until[number] = position.until
            for pending in position.pending:
                if pending.offset < ends[place]:
                    await self._take_up_one(consumer, place, pending)
            consumer.seek(place, position.next)
            self._following[number] = position.next

    async def _first(self, consumer: LogConsumer, place: TopicPartition) -> HookPosition:
        """Where to begin: with what was recorded since the hook was made, or at the beginning of the span."""
        since, to = (self._hook.at, None) if self._span is None else self._span
        end = (await consumer.end_offsets([place]))[place]
        found = (await consumer.offsets_for_times({place: max(0, since)}))[place]
        start = end if found is None else min(int(found.offset), end)
        if to is None:
            return HookPosition(next=start)
        last = (await consumer.offsets_for_times({place: max(0, to)}))[place]
        return HookPosition(next=start, until=max(start, end if last is None else min(int(last.offset), end)))

    async def _take_up_one(self, consumer: LogConsumer, place: TopicPartition, pending: PendingCall) -> None:
        """The event again that a call of ours was pending for; the log may have let go of it."""
        consumer.seek(place, pending.offset)
        while await consumer.position(place) <= pending.offset:
            for record in (await consumer.getmany(place, timeout_ms=_POLL_MS, max_records=1)).get(place, ()):
                if record.offset == pending.offset:
                    self._take(record, pending)

    # --- reading ---

    async def _read(self, consumer: LogConsumer) -> None:
        """Until the end of the span, or for ever."""
        places = {number: TopicPartition(LIFECYCLE, number) for number in self._partitions}
        left = {n: place for n, place in places.items() if not self._is_read(n)}
        while left:
            if not (room := self.window.room):
                await self._wait(None)
                continue
            fetched = await consumer.getmany(*left.values(), timeout_ms=_POLL_MS, max_records=room)
            for place, records in fetched.items():
                for record in records:
                    if record.offset < self._until.get(place.partition, record.offset + 1):
                        self._take(record)
            for number, place in left.items():
                position = await consumer.position(place)
                if position != self._following[number]:
                    self._following[number] = min(position, self._until.get(number, position))
                self._ends[number] = consumer.highwater(place) or position
            self._changed.set()
            left = {n: place for n, place in left.items() if not self._is_read(n)}

    def _is_read(self, number: int) -> bool:
        return number in self._until and self._following[number] >= self._until[number]

    def _take(self, record: Any, pending: PendingCall | None = None) -> None:
        try:
            delivery = self._delivery(record)
        except Exception as error:  # whatever it holds, the next one is read
            log.warning("an event is passed over", hook=self._hook.id, offset=record.offset, error=type(error).__name__)
            return
        if delivery is None:
            return
        now = self._around.clock()
        if pending is not None:
            delivery.attempts, delivery.first_at = pending.attempts, pending.first_at
        self.window.add(delivery, now)

    def _delivery(self, record: Any) -> Delivery | None:
        """What the hook is called for; None: it isn't."""
        if isinstance(record, Unreadable) or not record.value:
            return None
        if self._span is not None and not self._span.from_ms <= record.timestamp < self._span.to_ms:
            return None
        try:
            event: LifecycleEvent = read_lifecycle(record.value)
        except Invalid:
            return None  # (its letter is the analytics role's)
        if event.status not in self._statuses or (event.source or "") != self._hook.source:
            return None
        if record.key != event.user_id.encode():
            return None
        if self._around.hides(event.user_id, record.timestamp):
            event = _of_erased(event)
        body = body_of(event)
        return Delivery(record.partition, record.offset, event.user_id, event.event_id, body, record.timestamp)

    # --- calling ---

    async def _call(self, group: asyncio.TaskGroup) -> None:
        while True:
            while not self._is_ending and (delivery := self.window.begin(self._around.clock())) is not None:
                group.create_task(self._call_for(delivery))
            await self._wait(None if self._is_ending else self.window.next_due())

    async def _call_for(self, delivery: Delivery) -> None:
        began = self._around.clock()
        try:
            answer = await self._around.caller.call(self._hook.url, self._secret, delivery.event_id, delivery.body)
        except Exception as error:  # a bug: it is tried again
            log.exception("a hook's call failed", hook=self._hook.id, exc_info=error)
            answer = Answer("failed", type(error).__name__)
        now = self._around.clock()
        settled = self.window.end(delivery, answer, now)
        self._around.metrics.called(answer.outcome, (now - began) / 1000)
        if settled == "given_up":
            self._around.metrics.given_up()
            log.warning("a hook's call is given up", hook=self._hook.id, event=delivery.event_id, why=answer.why)
        if answer.outcome == "gone":
            await self._disable("the receiver answered 410")
        elif answer.outcome != "ok" and is_given_up(self.window.failing_since, now):
            await self._disable(f"no call has succeeded for 5 days: {answer.why}")
        self._changed.set()

    async def _disable(self, why: str) -> None:
        """Nobody is called any more from now on, whatever the log says; if it says nothing, it is tried again."""
        if self._is_ending:  # another call has brought it about
            return
        self._is_ending = True
        self.window.begin_anew()
        try:
            await self._around.disable(self._hook, why)
        except BaseException:
            self._is_ending = False
            raise

    async def _wait(self, until: int | None) -> None:
        """For a change, or for the moment (Unix ms)."""
        self._changed.clear()
        timeout = None if until is None else max(0.0, (until - self._around.clock()) / 1000)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout)

    # --- remembering ---

    async def _save_now_and_then(self) -> None:
        while True:
            await self._save()
            await asyncio.sleep(_SAVE_S)

    async def _save(self) -> None:
        """What couldn't be written is written the next time."""
        changed = {
            place: position
            for number, following in self._following.items()
            if (position := self.window.position(number, following, self._until.get(number)))
            != self._around.known.get(place := Place(self.name, number))
        }
        if not changed:
            return
        try:
            await self._around.save(changed)
        except PublishError as error:
            log.warning("a hook's position can't be written yet", hook=self._hook.id, reason=str(error))
            return
        self._around.known.update(changed)


def _of_erased(event: LifecycleEvent) -> LifecycleEvent:
    """Without whatever came of the user."""
    return msgspec.structs.replace(redacted(event), detail=None)


def _is_over(position: HookPosition | None) -> bool:
    """Whether a replay has nothing left to do in a partition."""
    if position is None or position.until is None:
        return False
    return position.next >= position.until and not position.pending
