"""Check 3, the decisions: what the router drew is decided the same again, byte for byte, from a stored state.

The router records each batch: what it drew in which order, when, under which catalog, and a digest of what it produced.
The audit runs the router's own machine over a copy of a partition's tables, batch after batch, and compares; and it
looks for every decided event and send in its topic, and there for those that nobody decided.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import msgspec
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from app.audit.findings import Finding, Progress
from app.audit.recorded import Span, check_topics, log_reader, read_spans, spans_of
from app.audit.scratch import Scratch
from app.domain.bounds import Bounds
from app.domain.catalog import Catalog, default_catalog
from app.domain.out import Out, Produce
from app.kafka.consumers import LogConsumer
from app.revision import code_mark
from app.simulate.erased import ErasuresFollower
from app.store.config_follower import ConfigFollower
from app.streaming.process import Processor
from app.streaming.store import PartitionStore
from schemas.batches import DUE_MARK_BYTES, Batch, Drawn, digest_of_outputs, due_mark, read_batch
from schemas.decode import Invalid
from schemas.instants import rfc3339
from schemas.lifecycle import CAME_BACK, LifecycleEvent, read_lifecycle
from schemas.topics import BATCHES, CONFIG, LIFECYCLE, SEND_TOPICS

#: Statuses of sends that nobody but the router writes.
_ROUTERS = frozenset(("accepted", "repeated", "scheduled", "queued", "aggregated"))
_SENDS = tuple(name for lanes in SEND_TOPICS.values() for name in lanes)
#: Tables: what was decided again, by a hash of it; and which of it lies in its topic.
_DECIDED, _TOLD = "decided", "told"
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[str, bytes, int, int]).decode
#: Records are dated when they are produced, which may be a while after they were decided.
_PRODUCED_LATE_MS = 120_000
#: Around the first and the last batch, a record may be of one that isn't decided again.
_MARGIN_MS = 1_000
_POLL_MS, _AT_ONCE = 500, 2_000
_MOST_DUE = 500


@dataclass(frozen=True, slots=True)
class StoredState:
    """A partition's tables as they were at a position. ``journal``: the offset of the last entry whose effects they
    hold; ``at``: when that was by the owner's clock, Unix ms."""

    partition: int
    store: PartitionStore
    journal: int
    at: int


@dataclass(frozen=True, slots=True)
class DecisionTerms:
    """``machine``: the router's, under a catalog."""

    machine: Callable[[Catalog], Any]
    bounds: Bounds
    partitions: int


async def check_decisions(
    client_options: Mapping[str, Any],
    terms: DecisionTerms,
    states: Sequence[StoredState],
    scratch: Scratch,
    progress: Progress,
) -> Finding:
    """Raises KafkaError, LookupError for a missing topic."""
    finding = Finding("decisions")
    known = await catalogs(client_options, terms.bounds)
    erasures = ErasuresFollower(client_options, terms.partitions)
    try:
        await erasures.start()
        async with log_reader(client_options) as consumer:
            await check_topics(consumer, [BATCHES, LIFECYCLE, *_SENDS])
        for done, state in enumerate(states):
            progress(done, len(states))
            async with AsyncExitStack() as stack:
                lanes = _Lanes(client_options, state.partition, stack)
                await _Again(client_options, terms, state, known, erasures, scratch, finding, lanes).run()
        progress(len(states), len(states))
    finally:
        await erasures.close()
    finding.not_covered["partitions without a stored state"] += terms.partitions - len(states)
    return finding


async def catalogs(client_options: Mapping[str, Any], bounds: Bounds) -> dict[bytes, Catalog]:
    """All that were ever in force, by their marks, as far as notify_config still has them. Raises KafkaError."""
    follower = ConfigFollower(client_options, bounds=bounds)
    first = default_catalog(bounds)
    found = {first.mark: first}
    async with log_reader(client_options) as consumer:
        async for _, records in read_spans(consumer, await spans_of(consumer, CONFIG, 1)):
            for record in records:
                catalog = await follower.apply(record)
                found[catalog.mark] = catalog
    return found


def is_routers(event: LifecycleEvent) -> bool:
    """Whether nobody but the router writes such an event. The channels' roles write of their sends alone, and only the
    inbox what came back."""
    if event.send_id is None or event.status in _ROUTERS:
        return True
    return event.status in CAME_BACK and event.channel != "in_app"


class _NotAgain(Exception):
    """From here on, the partition can't be decided again; says what isn't there."""


class _Lanes:
    """The topics that the router reads, in one partition, each from where it is asked for."""

    def __init__(self, client_options: Mapping[str, Any], partition: int, stack: AsyncExitStack) -> None:
        self._options = client_options
        self._partition = partition
        self._stack = stack
        self._readers: dict[str, tuple[LogConsumer, deque[ConsumerRecord]]] = {}

    async def take(self, drawn: Drawn) -> list[ConsumerRecord]:
        """The records that were drawn. Raises _NotAgain where they are no longer there."""
        consumer, waiting = await self._reader(drawn.topic)
        place = TopicPartition(drawn.topic, self._partition)
        while waiting and waiting[0].offset < drawn.first:
            waiting.popleft()
        if not waiting or waiting[0].offset > drawn.first:
            waiting.clear()
            consumer.seek(place, drawn.first)
        while (not waiting or waiting[-1].offset < drawn.last) and await consumer.position(place) <= drawn.last:
            found = await consumer.getmany(place, timeout_ms=_POLL_MS, max_records=_AT_ONCE)
            waiting.extend(found.get(place, ()))
        records = []
        while waiting and waiting[0].offset <= drawn.last:
            records.append(waiting.popleft())
        if len(records) != drawn.count:
            raise _NotAgain("partitions from a batch on whose records are no longer kept")
        return records

    async def _reader(self, topic: str) -> tuple[LogConsumer, deque[ConsumerRecord]]:
        if topic not in self._readers:
            consumer = await self._stack.enter_async_context(log_reader(self._options))
            consumer.assign([TopicPartition(topic, self._partition)])
            self._readers[topic] = consumer, deque()
        return self._readers[topic]


class _Again:
    """One partition's batches, decided again."""

    def __init__(
        self,
        client_options: Mapping[str, Any],
        terms: DecisionTerms,
        state: StoredState,
        known: Mapping[bytes, Catalog],
        erasures: ErasuresFollower,
        scratch: Scratch,
        finding: Finding,
        lanes: _Lanes,
    ) -> None:
        self._options = client_options
        self._state = state
        self._catalogs = known
        self._erasures = erasures
        self._scratch = scratch
        self._finding = finding
        self._lanes = lanes
        self._machine = terms.machine(next(iter(known.values())))
        self._processor = Processor(
            self._machine, state.store, state.partition, lambda name, count: None, lambda topic, code: None
        )
        #: Whether records of users were left out who were erased since.
        self._is_hiding = False
        #: When the latest batch was decided, Unix ms.
        self._until = state.at

    async def run(self) -> None:
        partition = self._state.partition
        async with log_reader(self._options) as consumer:
            place = TopicPartition(BATCHES, partition)
            span = await self._span(consumer, place)
            told = [TopicPartition(topic, partition) for topic in (LIFECYCLE, *_SENDS)]
            ends = await consumer.end_offsets(told)
            try:
                await self._decide_all(consumer, place, span)
            except _NotAgain as why:
                self._finding.not_covered[str(why)] += 1
            self._scratch.settle()
            for each in told:
                start = (await self._span(consumer, each)).start
                await self._compare_told(consumer, each, Span(min(start, ends[each]), ends[each]))
        self._scratch.settle()
        self._report_missing()

    async def _span(self, consumer: LogConsumer, place: TopicPartition) -> Span:
        """From what was produced at the time of the stored state, or a while before, to the end."""
        end = (await consumer.end_offsets([place]))[place]
        found = (await consumer.offsets_for_times({place: max(0, self._state.at - _PRODUCED_LATE_MS)}))[place]
        return Span(min(found.offset, end) if found else end, end)

    # --- deciding ---

    async def _decide_all(self, consumer: LogConsumer, place: TopicPartition, span: Span) -> None:
        """Those behind the stored state, each once: one may be produced again after a crash."""
        after = self._state.journal - 1
        async for _, records in read_spans(consumer, {place: span}):
            for record in records:
                try:
                    batch = read_batch(record.value or b"")
                except Invalid:
                    self._finding.differs(BATCHES, place.partition, b"", record.offset, "can't be read as a batch")
                    continue
                if batch.after > after:
                    after = batch.after
                    await self._decide(record.offset, batch)

    async def _decide(self, offset: int, batch: Batch) -> None:
        if batch.code != code_mark():
            raise _NotAgain("partitions from a batch on that another version of Tocsin decided")
        catalog = self._catalogs.get(batch.catalog)
        if catalog is None:
            raise _NotAgain("partitions from a batch on whose policy or templates are no longer kept")
        self._machine.catalog = catalog
        out, is_whole, now = Out(), True, self._until
        for step in batch.steps:
            out, now = Out(), step.now
            for drawn in step.drawn:
                is_whole = await self._draw(offset, drawn, out, now) and is_whole
            self._state.store.write(self._processor.changes(), {})
            self._processor.stored()
        self._until = now
        is_same = (len(out.records), digest_of_outputs(out.records)) == (batch.outputs, batch.digest)
        # (What is left out of a user's past may change what comes of them later; others' records are compared all the
        # same, one by one, where they lie.)
        is_whole = is_whole and (is_same or not self._is_hiding)
        self._note(offset, now, out.records, is_whole)
        if not is_whole:
            self._finding.not_covered["batches with records of users who were erased since"] += 1
            return
        self._finding.covered["batches"] += 1
        self._finding.covered["records produced"] += len(out.records)
        if not is_same:
            key = next((record.key for record in out.records if record.key), b"")
            what = (
                f"the batch of {rfc3339(now)} produced {batch.outputs} records; decided again, it comes to "
                f"{len(out.records)}, and not to the same bytes"
            )
            self._finding.differs(BATCHES, self._state.partition, key, offset, what)

    async def _draw(self, offset: int, drawn: Drawn, out: Out, now: int) -> bool:
        """Returns whether all of it could be decided again."""
        if not drawn.topic:
            return self._wake(offset, drawn, out, now)
        is_whole = True
        for record in await self._lanes.take(drawn):
            if self._erasures.erasures.hides(record):
                is_whole, self._is_hiding = False, True
                continue
            self._processor.handle(record, out, now)
            self._finding.covered["records decided"] += 1
        return is_whole

    def _wake(self, offset: int, drawn: Drawn, out: Out, now: int) -> bool:
        due = {due_mark(key): (key, row) for key, row in self._processor.due(now, _MOST_DUE)}
        is_whole = True
        for start in range(0, len(drawn.dues), DUE_MARK_BYTES):
            found = due.get(drawn.dues[start : start + DUE_MARK_BYTES])
            if found is not None:
                self._processor.wake(*found, out, now)
                self._finding.covered["timers woken"] += 1
            elif self._is_hiding:
                is_whole = False
            else:
                what = f"what fell due at {rfc3339(now)} isn't due in the state that was decided again"
                self._finding.differs(BATCHES, self._state.partition, b"", offset, what)
        return is_whole

    # --- what was told of it ---

    def _note(self, offset: int, now: int, outputs: Sequence[Produce], is_whole: bool) -> None:
        for output in outputs:
            if output.topic == LIFECYCLE or output.topic in _SENDS:
                decided = (output.topic, output.key or b"", offset, now if is_whole else 0)
                self._scratch.put(_DECIDED, self._mark(output.topic, output.key, output.value), _encode(decided))

    async def _compare_told(self, consumer: LogConsumer, place: TopicPartition, span: Span) -> None:
        async for _, records in read_spans(consumer, {place: span}):
            for record in records:
                mark = self._mark(place.topic, record.key, record.value)
                if self._scratch.has(_DECIDED, mark):
                    self._scratch.put(_TOLD, mark)
                elif self._is_to_be_decided(record):
                    what = "it was produced, and nobody decided it"
                    self._finding.differs(place.topic, place.partition, record.key or b"", record.offset, what)

    def _is_to_be_decided(self, record: ConsumerRecord) -> bool:
        """Whether it is the router's, and surely of one of the batches that were decided again."""
        if not self._state.at + _MARGIN_MS < record.timestamp < self._until - _MARGIN_MS:
            return False
        if record.key is None or record.key.decode("utf-8", "replace") in self._erasures.erasures:
            return record.key is None
        if record.topic != LIFECYCLE:
            return True
        try:
            return is_routers(read_lifecycle(record.value or b""))
        except Invalid:
            return True

    def _report_missing(self) -> None:
        start = self._state.partition.to_bytes(4, "big")
        for mark, value in self._scratch.scan(_DECIDED, start, (self._state.partition + 1).to_bytes(4, "big")):
            topic, key, offset, now = _decode(value)
            if now and now < self._until and not self._scratch.has(_TOLD, mark):
                what = f"what the batch of {rfc3339(now)} decided isn't in the topic; the batch is {BATCHES} {offset}"
                self._finding.differs(topic, self._state.partition, key, offset, what)

    def _mark(self, topic: str, key: bytes | None, value: bytes | None) -> bytes:
        text = b"\0".join((topic.encode(), key or b"", value or b""))
        return self._state.partition.to_bytes(4, "big") + blake2b(text, digest_size=16).digest()
