"""Bringing a partition's store up to date: its changelogs in raw batches, then what its journal still has pending.

Completion is determined by the position reached, never by whether the record before the end still exists: compaction
may have taken it.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import TopicPartition

from app.kafka.consumers import LogConsumer
from app.streaming.epochs import Epoch, epoch_of
from app.streaming.journal import CLAIM, Entry, Fenced, JournalPosition, valid_entries
from app.streaming.producer import MAX_REQUEST_BYTES
from app.streaming.store import PartitionStore, Reached

log = structlog.get_logger(__name__)

_BATCH_RECORDS = 10_000


@dataclass(frozen=True, slots=True)
class Committed:
    """Where the group's commit for one topic stands; ``journal``: the last entry that commit had carried out."""

    offset: int
    journal: JournalPosition | None


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """What the journal holds: the last entry, if it is still to be carried out, and the last one's positions."""

    entry: tuple[JournalPosition, Entry] | None
    positions: dict[str, int]


@dataclass(frozen=True, slots=True)
class Restored:
    """What ``restore`` did. ``rows``: how many came; ``ends``: up to where each table's changelog was read; ``late``:
    the rows of each table of which the changelog's last word came late, so that its owner has to write them again."""

    rows: int
    ends: dict[str, int]
    late: dict[str, set[bytes]]


class Restorer:
    """Reads changelogs and journals with a consumer of its own, so that other partitions go on being served."""

    def __init__(self, client_options: Mapping[str, Any], changelogs: Mapping[str, str], journal: str) -> None:
        """``changelogs``: the topic of each table."""
        self._options = dict(client_options)
        self._changelogs = dict(changelogs)
        self._journal = journal

    async def restore(
        self,
        store: PartitionStore,
        partition: int,
        progress: Callable[[int, int], None] = lambda done, of: None,
        until: Mapping[str, int] | None = None,
    ) -> Restored:
        """Applies every changelog record that the store hasn't seen, but for those that came late.

        ``until``: no further than to these offsets, by table.
        """
        tables = {TopicPartition(topic, partition): table for table, topic in self._changelogs.items()}
        async with self._reader(list(tables)) as consumer:
            begins = await consumer.beginning_offsets(list(tables))
            ends = await consumer.end_offsets(list(tables))
            if until is not None:
                ends = {tp: min(end, until[tables[tp]]) for tp, end in ends.items()}
            todo: dict[TopicPartition, int] = {}
            for tp, table in tables.items():
                start = store.reached(table).offset
                if start > ends[tp]:
                    log.warning("the changelog is shorter than the store: rebuilding", table=table, partition=partition)
                    store.clear([table])
                    start = 0
                start = max(start, begins[tp])
                if start < ends[tp]:
                    consumer.seek(tp, start)
                    todo[tp] = ends[tp]
            consumer.pause(*(tp for tp in tables if tp not in todo))
            total = sum(end - store.reached(tables[tp]).offset for tp, end in todo.items())
            rows, late = await self._apply(consumer, store, tables, todo, total, progress)
        return Restored(rows, {table: ends[tp] for tp, table in tables.items()}, late)

    async def pending_entry(
        self, store: PartitionStore, partition: int, committed: JournalPosition | None, claim: int
    ) -> PendingEntry:
        """What the journal says before ``claim``. One entry at a time is carried out, so only the last can be pending.

        ``committed``: the last entry that the group's commit had carried out.
        """
        tp = TopicPartition(self._journal, partition)
        # (a position beyond the claim is of a journal that is gone)
        known = [b for b in (store.journal_position(), committed) if b is not None and 0 <= b.entry < claim]
        since = max(known, key=lambda b: b.entry, default=None)
        async with self._reader([tp]) as consumer:
            begin = (await consumer.beginning_offsets([tp]))[tp]
            consumer.seek(tp, max(begin, since.entry if since is not None else 0))
            records = [(r.offset, r.key, r.value) async for r in _until(consumer, {tp: claim + 1}) if r.value]
        entries = valid_entries(records, since)
        if not entries:
            return PendingEntry(None, {})
        offset, last = entries[-1]
        known_to_be_done = since is not None and offset <= since.entry
        return PendingEntry(None if known_to_be_done else (JournalPosition(offset, last.claim), last), last.positions)

    async def bounds(self, topics: Iterable[str], partition: int) -> dict[str, tuple[int, int]]:
        """The first offset that each topic's partition holds, and the next one that it will give."""
        tps = [TopicPartition(topic, partition) for topic in topics]
        async with self._reader(tps) as consumer:
            begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        return {tp.topic: (begins[tp], ends[tp]) for tp in tps}

    async def claimed(self, partition: int, start: int, end: int | None) -> bool:
        """Whether somebody claimed the partition in these offsets of its journal. ``end`` None: up to its end."""
        return CLAIM in {record.key for record in await self._read(self._journal, partition, start, end)}

    async def late(self, table: str, partition: int, start: int, end: int, epoch: Epoch) -> set[bytes]:
        """The rows that somebody else wrote last in these offsets of a table's changelog. ``epoch``: the owner's.

        Raises Fenced where that was a newer owner.
        """
        late: set[bytes] = set()
        for record in await self._read(self._changelogs[table], partition, start, end):
            if record.key is None:
                continue
            row_epoch = epoch_of(record)
            if row_epoch > epoch:
                raise Fenced(f"{table}[{partition}] is written by another worker")
            if row_epoch == epoch:
                late.discard(record.key)
            else:
                late.add(record.key)
        return late

    async def gone(self, partition: int, records: Mapping[str, int]) -> set[str]:
        """Of records at these offsets, by topic: the topics that no longer hold theirs, though they go on behind it."""
        tps = {TopicPartition(topic, partition): offset for topic, offset in records.items()}
        async with self._reader(list(tps)) as consumer:
            ends = await consumer.end_offsets(list(tps))
            for tp, offset in tps.items():
                consumer.seek(tp, offset)
            first: dict[TopicPartition, int] = {}
            async for tp, found, position in _batches(consumer, {tp: min(ends[tp], at + 1) for tp, at in tps.items()}):
                first.setdefault(tp, found[0].offset if found else position)
        return {tp.topic for tp, offset in tps.items() if first.get(tp, offset) != offset}

    async def _read(self, topic: str, partition: int, start: int, end: int | None) -> list[Any]:
        tp = TopicPartition(topic, partition)
        async with self._reader([tp]) as consumer:
            if end is None:
                end = (await consumer.end_offsets([tp]))[tp]
            consumer.seek(tp, max(start, (await consumer.beginning_offsets([tp]))[tp]))
            return [record async for record in _until(consumer, {tp: end})]

    @asynccontextmanager
    async def _reader(self, tps: Sequence[TopicPartition]) -> AsyncIterator[LogConsumer]:
        consumer = LogConsumer(
            **self._options,
            group_id=None,
            auto_offset_reset="earliest",
            # Our own topics, which nobody else writes to: ours lie there whatever a stranger's transaction does.
            isolation_level="read_uncommitted",
            max_partition_fetch_bytes=MAX_REQUEST_BYTES,
            fetch_max_wait_ms=50,
        )
        consumer.assign(tps)
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()

    async def _apply(
        self,
        consumer: LogConsumer,
        store: PartitionStore,
        tables: Mapping[TopicPartition, str],
        todo: Mapping[TopicPartition, int],
        total: int,
        progress: Callable[[int, int], None],
    ) -> tuple[int, dict[str, set[bytes]]]:
        count = 0
        sieves = {tp: StaleWriteFilter(store.reached(tables[tp]).epoch) for tp in todo}
        async for tp, records, position in _batches(consumer, todo):
            sieve, table = sieves[tp], tables[tp]
            rows = sieve.sift(records)
            store.write({table: rows}, {table: Reached(sieve.seen(position), sieve.epoch)})
            count += len(records)
            progress(count, total)
        return count, {tables[tp]: set(sieve.late) for tp, sieve in sieves.items() if sieve.late}


class StaleWriteFilter:
    """Keeps late rows from a changelog's others, record for record. ``epoch``: the highest that was seen."""

    def __init__(self, epoch: Epoch) -> None:
        self.epoch = epoch
        #: The rows that were last written too late, and the first offset at which they were.
        self.late: dict[bytes, int] = {}

    def sift(self, records: Iterable[Any]) -> dict[bytes, bytes | None]:
        """What counts of the next records."""
        rows: dict[bytes, bytes | None] = {}
        for record in records:
            if record.key is None:  # it can't be read: the row stays as it was
                continue
            row_epoch = epoch_of(record)
            if row_epoch and row_epoch < self.epoch:
                self.late.setdefault(record.key, record.offset)
                continue
            self.epoch = row_epoch or self.epoch
            rows[record.key] = record.value
            if self.late:
                self.late.pop(record.key, None)
        return rows

    def seen(self, position: int) -> int:
        """Up to where nothing has to be looked at again: what came late has, until its owner has written it again."""
        return min(position, next(iter(self.late.values()), position))


async def _batches(
    consumer: LogConsumer, ends: Mapping[TopicPartition, int]
) -> AsyncIterator[tuple[TopicPartition, list[Any], int]]:
    """(partition, its next records, the position after them) until every end is reached."""
    left = dict(ends)
    while left:
        fetched = await consumer.getmany(*left, timeout_ms=200, max_records=_BATCH_RECORDS)
        for tp, records in fetched.items():
            position = await consumer.position(tp)
            yield tp, [r for r in records if r.offset < ends[tp]], min(position, ends[tp])
        for tp, end in list(left.items()):
            if await consumer.position(tp) >= end:
                del left[tp]
                if tp not in fetched:  # (what was left has been compacted away)
                    yield tp, [], end


async def _until(consumer: LogConsumer, ends: Mapping[TopicPartition, int]) -> AsyncIterator[Any]:
    async for _, records, _ in _batches(consumer, ends):
        for record in records:
            yield record


def within(positions: Mapping[str, int], bounds: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """The positions, those beyond a topic's end set to its beginning: it was made anew, or lost its tail, and what it
    holds now has other offsets. What was handled before is known by its rows."""
    return {
        topic: bounds[topic][0] if topic in bounds and position > bounds[topic][1] else position
        for topic, position in positions.items()
    }


def latest(committed: Iterable[Committed]) -> JournalPosition | None:
    """The last entry that any of the commits had carried out."""
    return max((c.journal for c in committed if c.journal is not None), key=lambda b: b.entry, default=None)


def start_positions(committed: Mapping[str, Committed], pending_entry: PendingEntry) -> dict[str, int]:
    """The next offset to handle of each topic.

    The journal's word beats the commit's, which may lag behind it; but a commit that isn't ours (no journal offset in
    its metadata) was set by an operator and is obeyed.
    """
    positions = dict(pending_entry.positions)
    for topic, at in committed.items():
        positions[topic] = at.offset if at.journal is None else max(at.offset, positions.get(topic, 0))
    return positions
