"""Check 3, the decisions: what the router and the inbox drew is decided the same again, from a stored state.

Each records its batches: what it drew in which order, when, under which catalog, and a digest of what it produced. The
audit runs the role's own machine over a copy of a partition's tables, batch after batch, and compares byte for byte. It
looks for each decided event, result and send in its topic, and there for those that nobody decided.
"""

from collections import defaultdict, deque
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
from schemas.results import read_result
from schemas.topics import BATCHES, CONFIG, LIFECYCLE, RESULTS, SEND_TOPICS
from tables.router import NORMALIZES_FIRST, normalizes_next

#: Statuses of sends that nobody but the router writes.
_ROUTERS = frozenset(("accepted", "repeated", "scheduled", "queued", "aggregated"))
_ROUTER: Final = frozenset(("router",))
_SENDS = tuple(name for lanes in SEND_TOPICS.values() for name in lanes)
#: Where it is looked for what was decided, and for what nobody decided.
_OUTPUT_TOPICS: Final = (LIFECYCLE, RESULTS, *_SENDS)
#: Tables: what was decided again, by a hash of it; and which of it lies in its topic.
_DECIDED, _PRODUCED = "decided", "produced"
_encode: Final = msgspec.msgpack.Encoder().encode
#: Topic, key, the batch's offset, its time, its role.
_decode: Final = msgspec.msgpack.Decoder(tuple[str, bytes, int, int, str]).decode
#: Records are dated when they are produced, which may be a while after they were decided.
_PRODUCED_LATE_MS = 120_000
#: Around the first and the last batch, a record may be of one that isn't decided again.
_MARGIN_MS = 1_000
_POLL_MS, _AT_ONCE = 500, 2_000
_MOST_DUE = 500


@dataclass(frozen=True, slots=True)
class StoredState:
    """A role's tables of a partition as they were. ``journal``: the offset of the last entry whose effects they hold;
    ``at``: when that was by the owner's clock, Unix ms."""

    role: str
    partition: int
    store: PartitionStore
    journal: int
    at: int


@dataclass(frozen=True, slots=True)
class DecisionTerms:
    """``machines``: of each role whose batches are recorded, under a catalog."""

    machines: Mapping[str, Callable[[Catalog], Any]]
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
    by_partition: dict[int, list[StoredState]] = defaultdict(list)
    for state in states:
        by_partition[state.partition].append(state)
    try:
        await erasures.start()
        async with log_reader(client_options) as consumer:
            await check_topics(consumer, [BATCHES, *_OUTPUT_TOPICS])
        for done, (partition, its) in enumerate(by_partition.items()):
            progress(done, len(by_partition))
            async with AsyncExitStack() as stack:
                deciding = [
                    Again(terms, state, known, erasures, scratch, finding, Lanes(client_options, partition, stack))
                    for state in its
                ]
                await _Partition(client_options, partition, deciding, erasures, scratch, finding).run()
        progress(len(by_partition), len(by_partition))
    finally:
        await erasures.close()
    finding.not_covered["partitions without a stored state"] += terms.partitions * len(terms.machines) - len(states)
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


def writers_of(event: LifecycleEvent) -> frozenset[str]:
    """The roles that may have written such an event. Of its sends, a channel's role alone writes what is neither the
    router's nor came back; a receipt of an item may come from an app (the router takes it) or from the inbox."""
    if event.send_id is None or event.status in _ROUTERS or event.channel is None:
        return _ROUTER
    if event.status in CAME_BACK:
        return _ROUTER | {"in_app"} if event.channel == "in_app" else _ROUTER
    if event.status == "failed":  # the router's, where the channel has no provider
        return _ROUTER | {event.channel}
    return frozenset((event.channel,))


def _writers(topic: str, value: bytes) -> frozenset[str]:
    """The roles that may have produced the record; nobody but the router writes sends."""
    try:
        if topic == LIFECYCLE:
            return writers_of(read_lifecycle(value))
        return frozenset((read_result(value).channel,)) if topic == RESULTS else _ROUTER
    except Invalid:
        return _ROUTER


#: What falls due because a process opened the tables, which no record says.
_MADE_AT_OPENING: dict[bytes, tuple[bytes, Any]] = {
    due_mark(NORMALIZES_FIRST): (NORMALIZES_FIRST, normalizes_next(b""))
}


class NotAgain(Exception):
    """From here on, the role's partition can't be decided again; says what isn't there."""


class Lanes:
    """The topics that a role reads, in one partition, each from where it is asked for."""

    def __init__(self, client_options: Mapping[str, Any], partition: int, stack: AsyncExitStack) -> None:
        self._options = client_options
        self._partition = partition
        self._stack = stack
        self._readers: dict[str, tuple[LogConsumer, deque[ConsumerRecord]]] = {}

    async def take(self, drawn: Drawn) -> list[ConsumerRecord]:
        """The records that were drawn. Raises NotAgain where they are no longer there."""
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
            raise NotAgain("partitions from a batch on whose records are no longer kept")
        return records

    async def _reader(self, topic: str) -> tuple[LogConsumer, deque[ConsumerRecord]]:
        if topic not in self._readers:
            consumer = await self._stack.enter_async_context(log_reader(self._options))
            consumer.assign([TopicPartition(topic, self._partition)])
            self._readers[topic] = consumer, deque()
        return self._readers[topic]


class Again:
    """One role's batches of a partition, decided again."""

    def __init__(
        self,
        terms: DecisionTerms,
        state: StoredState,
        known: Mapping[bytes, Catalog],
        erasures: ErasuresFollower,
        scratch: Scratch,
        finding: Finding,
        lanes: Lanes,
    ) -> None:
        self.role = state.role
        self._state = state
        self._catalogs = known
        self._erasures = erasures
        self._scratch = scratch
        self._finding = finding
        self._lanes = lanes
        self._machine = terms.machines[state.role](next(iter(known.values())))
        self._processor = Processor(
            self._machine, state.store, state.partition, lambda name, count: None, lambda topic, code: None
        )
        #: The offset of the journal's record before the latest batch that was decided.
        self._after = state.journal - 1
        #: Whether records of users were left out who were erased since.
        self._is_hiding = False
        self._is_over = False
        #: What was decided again lies between: of the stored state, and of the latest batch, Unix ms.
        self.since = self.until = state.at

    def surely_decides(self, at: int) -> bool:
        """Whether what the role produced at that time (Unix ms) is of one of the batches that were decided again."""
        return self.since + _MARGIN_MS < at < self.until - _MARGIN_MS

    async def take(self, offset: int, batch: Batch) -> None:
        """Those behind the stored state, each once: one may be produced again after a crash."""
        if self._is_over or batch.role != self.role or batch.after <= self._after:
            return
        self._after = batch.after
        try:
            await self._decide(offset, batch)
        except NotAgain as why:
            self._finding.not_covered[str(why)] += 1
            self._is_over = True

    async def _decide(self, offset: int, batch: Batch) -> None:
        if batch.code != code_mark():
            raise NotAgain("partitions from a batch on that another version of Tocsin decided")
        catalog = self._catalogs.get(batch.catalog)
        if catalog is None:
            raise NotAgain("partitions from a batch on whose policy or templates are no longer kept")
        self._machine.catalog = catalog
        out, is_whole, now = Out(), True, self.until
        for step in batch.steps:
            out, now = Out(), step.now
            for drawn in step.drawn:
                is_whole = await self._draw(offset, drawn, out, now) and is_whole
            self._state.store.write(self._processor.changes(), {})
            self._processor.stored()
        self.until = now
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
        due = _MADE_AT_OPENING | {due_mark(key): (key, row) for key, row in self._processor.due(now, _MOST_DUE)}
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

    def _note(self, offset: int, now: int, outputs: Sequence[Produce], is_whole: bool) -> None:
        for output in outputs:
            if output.topic in _OUTPUT_TOPICS:
                decided = (output.topic, output.key or b"", offset, now if is_whole else 0, self.role)
                mark = _mark(self._state.partition, output.topic, output.key, output.value)
                self._scratch.put(_DECIDED, mark, _encode(decided))


class _Partition:
    """One partition's batches, and what they produced."""

    def __init__(
        self,
        client_options: Mapping[str, Any],
        partition: int,
        deciding: Sequence[Again],
        erasures: ErasuresFollower,
        scratch: Scratch,
        finding: Finding,
    ) -> None:
        self._options = client_options
        self._partition = partition
        self._deciding = {each.role: each for each in deciding}
        self._erasures = erasures
        self._scratch = scratch
        self._finding = finding

    async def run(self) -> None:
        async with log_reader(self._options) as consumer:
            batches = TopicPartition(BATCHES, self._partition)
            span = await self._span(consumer, batches)
            outputs = [TopicPartition(topic, self._partition) for topic in _OUTPUT_TOPICS]
            ends = await consumer.end_offsets(outputs)
            await self._decide_all(consumer, batches, span)
            self._scratch.settle()
            for each in outputs:
                start = (await self._span(consumer, each)).start
                await self._compare_outputs(consumer, each, Span(min(start, ends[each]), ends[each]))
        self._scratch.settle()
        self._report_missing()

    async def _span(self, consumer: LogConsumer, place: TopicPartition) -> Span:
        """From what was produced at the time of the oldest stored state, or a while before, to the end."""
        since = min(each.since for each in self._deciding.values())
        end = (await consumer.end_offsets([place]))[place]
        found = (await consumer.offsets_for_times({place: max(0, since - _PRODUCED_LATE_MS)}))[place]
        return Span(min(found.offset, end) if found else end, end)

    async def _decide_all(self, consumer: LogConsumer, place: TopicPartition, span: Span) -> None:
        async for _, records in read_spans(consumer, {place: span}):
            for record in records:
                try:
                    batch = read_batch(record.value or b"")
                except Invalid:
                    self._finding.differs(BATCHES, self._partition, b"", record.offset, "can't be read as a batch")
                    continue
                if batch.role in self._deciding:
                    await self._deciding[batch.role].take(record.offset, batch)

    async def _compare_outputs(self, consumer: LogConsumer, place: TopicPartition, span: Span) -> None:
        async for _, records in read_spans(consumer, {place: span}):
            for record in records:
                mark = _mark(self._partition, place.topic, record.key, record.value)
                if self._scratch.has(_DECIDED, mark):
                    self._scratch.put(_PRODUCED, mark)
                elif self._is_to_be_decided(record):
                    what = "it was produced, and nobody decided it"
                    self._finding.differs(place.topic, self._partition, record.key or b"", record.offset, what)

    def _is_to_be_decided(self, record: ConsumerRecord) -> bool:
        """Whether all roles that may have written it were decided again around its time."""
        surely = {role for role, its in self._deciding.items() if its.surely_decides(record.timestamp)}
        if not surely or (record.key or b"").decode("utf-8", "replace") in self._erasures.erasures:
            return False
        return _writers(record.topic, record.value or b"") <= surely

    def _report_missing(self) -> None:
        start = self._partition.to_bytes(4, "big")
        for mark, value in self._scratch.scan(_DECIDED, start, (self._partition + 1).to_bytes(4, "big")):
            topic, key, offset, now, role = _decode(value)
            if now and now < self._deciding[role].until and not self._scratch.has(_PRODUCED, mark):
                what = f"what the batch of {rfc3339(now)} decided isn't in the topic; the batch is {BATCHES} {offset}"
                self._finding.differs(topic, self._partition, key, offset, what)


def _mark(partition: int, topic: str, key: bytes | None, value: bytes | None) -> bytes:
    text = b"\0".join((topic.encode(), key or b"", value or b""))
    return partition.to_bytes(4, "big") + blake2b(text, digest_size=16).digest()
