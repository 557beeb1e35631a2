"""Bringing a partition's store up to date: its changelogs in raw batches, then what its journal still owes.

Completion is judged by the position reached, never by whether the record before the end still exists: compaction may
have taken it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.streaming.journal import CLAIM, Bookmark, Entry, valid_entries
from app.streaming.producing import MAX_REQUEST_BYTES
from app.streaming.store import PartitionStore

log = structlog.get_logger(__name__)

_BATCH_RECORDS = 10_000
_QUIET_S = 5.0


@dataclass(frozen=True, slots=True)
class Committed:
    """Where the group's commit for one topic stands; ``journal``: the last entry that commit had carried out."""

    offset: int
    journal: Bookmark | None


@dataclass(frozen=True, slots=True)
class Owed:
    """What the journal holds: entries still to be carried out, oldest first, and the last one's positions."""

    entries: list[tuple[Bookmark, Entry]]
    positions: dict[str, int]


class Restorer:
    """Reads changelogs and journals with a consumer of its own, so that other partitions go on being served."""

    def __init__(self, client_options: Mapping[str, Any], changelogs: Mapping[str, str], journal: str) -> None:
        """``changelogs``: the topic of each table."""
        self._options = dict(client_options)
        self._changelogs = dict(changelogs)
        self._journal = journal

    async def restore(
        self, store: PartitionStore, partition: int, progress: Callable[[int, int], None] = lambda done, of: None
    ) -> int:
        """Applies every changelog record that the store hasn't seen. Returns how many rows that were."""
        tables = {TopicPartition(topic, partition): table for table, topic in self._changelogs.items()}
        async with self._reader(list(tables)) as consumer:
            begins = await consumer.beginning_offsets(list(tables))
            ends = await consumer.end_offsets(list(tables))
            todo: dict[TopicPartition, int] = {}
            for tp, table in tables.items():
                start = store.changelog_offset(table)
                if start > ends[tp]:
                    log.warning("changelog is shorter than the store: rebuilding", table=table, partition=partition)
                    store.clear([table])
                    start = 0
                start = max(start, begins[tp])
                if start < ends[tp]:
                    consumer.seek(tp, start)
                    todo[tp] = ends[tp]
            if not todo:
                return 0
            consumer.pause(*(tp for tp in tables if tp not in todo))
            total = sum(end - store.changelog_offset(tables[tp]) for tp, end in todo.items())
            return await self._apply(consumer, store, tables, todo, total, progress)

    async def owed(self, store: PartitionStore, partition: int, committed: Bookmark | None, claim: int) -> Owed:
        """The journal's entries before ``claim`` whose effects aren't all known to be durable.

        ``committed``: the last entry that the group's commit had carried out.
        """
        tp = TopicPartition(self._journal, partition)
        # (a bookmark beyond the claim is of a journal that is gone)
        known = [b for b in (store.bookmark(), committed) if b is not None and 0 <= b.entry < claim]
        since = max(known, key=lambda b: b.entry, default=None)
        async with self._reader([tp]) as consumer:
            begin = (await consumer.beginning_offsets([tp]))[tp]
            consumer.seek(tp, max(begin, since.entry if since is not None else 0))
            records = [(r.offset, r.key, r.value) async for r in _until(consumer, {tp: claim + 1}) if r.value]
        entries = valid_entries(records, since)
        # One entry at a time is carried out: where nothing is known, only the last can be owed.
        todo = entries[-1:] if since is None else [(o, entry) for o, entry in entries if o > since.entry]
        return Owed([(Bookmark(o, e.claim), e) for o, e in todo], entries[-1][1].positions if entries else {})

    async def bounds(self, topics: Iterable[str], partition: int) -> dict[str, tuple[int, int]]:
        """The first offset that each topic's partition holds, and the next one that it will give."""
        tps = [TopicPartition(topic, partition) for topic in topics]
        async with self._reader(tps) as consumer:
            begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        return {tp.topic: (begins[tp], ends[tp]) for tp in tps}

    async def claimed(self, partition: int, start: int, end: int) -> bool:
        """Whether somebody claimed the partition in these offsets of its journal."""
        return CLAIM in await self._keys(self._journal, partition, start, end)

    async def changed(self, table: str, partition: int, start: int, end: int) -> set[bytes]:
        """The keys of the rows that these offsets of a table's changelog are about."""
        return await self._keys(self._changelogs[table], partition, start, end)

    async def _keys(self, topic: str, partition: int, start: int, end: int) -> set[bytes]:
        tp = TopicPartition(topic, partition)
        async with self._reader([tp]) as consumer:
            consumer.seek(tp, max(start, (await consumer.beginning_offsets([tp]))[tp]))
            return {record.key async for record in _until(consumer, {tp: end})}

    @asynccontextmanager
    async def _reader(self, tps: Sequence[TopicPartition]) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
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
        consumer: AIOKafkaConsumer,
        store: PartitionStore,
        tables: Mapping[TopicPartition, str],
        todo: Mapping[TopicPartition, int],
        total: int,
        progress: Callable[[int, int], None],
    ) -> int:
        rows = 0
        async for tp, records, position in _batches(consumer, todo):
            table = tables[tp]
            store.write({table: {r.key: r.value for r in records}}, {table: position})
            rows += len(records)
            progress(rows, total)
        return rows


async def _batches(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]
) -> AsyncIterator[tuple[TopicPartition, list[Any], int]]:
    """(partition, its next records, the position after them) until every end is reached."""
    left = dict(ends)
    now = asyncio.get_running_loop().time
    silence = Silence(now())
    while left:
        fetched = await consumer.getmany(*left, timeout_ms=200, max_records=_BATCH_RECORDS)
        for tp, records in fetched.items():
            position = await consumer.position(tp)
            yield tp, [r for r in records if r.offset < ends[tp]], min(position, ends[tp])
            silence = Silence(now())
        for tp in list(left):
            if await consumer.position(tp) >= left[tp]:
                del left[tp]
        silence.hear({tp: consumer.last_poll_timestamp(tp) for tp in left})
        if left and silence.says_that_nothing_is_left(now()):
            # Everything up to the end has been compacted away: nothing more can come.
            log.warning("nothing left to read before the end", topics=sorted({tp.topic for tp in left}))
            for tp, end in left.items():
                yield tp, [], end
            return


class Silence:
    """Time without a record. A broker that is away, slow or cut off says nothing of the log, so only answers count.

    aiokafka tells when the latest answer to a fetch came. It doesn't fetch again before an answer's records were taken:
    so of three answers without a record in between at least one was empty.
    """

    ANSWERS = 3

    def __init__(self, since: float) -> None:
        self._since = since
        self._answers: dict[TopicPartition, set[int]] = {}

    def hear(self, latest: Mapping[TopicPartition, int | None]) -> None:
        """When the latest answer for each partition came that is still read."""
        self._answers = {
            tp: self._answers.get(tp, set()) | ({at_ms} if at_ms is not None else set()) for tp, at_ms in latest.items()
        }

    def says_that_nothing_is_left(self, now: float) -> bool:
        enough = all(len(answers) >= self.ANSWERS for answers in self._answers.values())
        return now - self._since > _QUIET_S and enough


async def _until(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> AsyncIterator[Any]:
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


def latest(committed: Iterable[Committed]) -> Bookmark | None:
    """The last entry that any of the commits had carried out."""
    return max((c.journal for c in committed if c.journal is not None), key=lambda b: b.entry, default=None)


def start_positions(committed: Mapping[str, Committed], owed: Owed) -> dict[str, int]:
    """The next offset to handle of each topic.

    The journal's word beats the commit's, which may lag behind it; but a commit that isn't ours (no journal offset in
    its metadata) was set by an operator and is obeyed.
    """
    positions = dict(owed.positions)
    for topic, at in committed.items():
        positions[topic] = at.offset if at.journal is None else max(at.offset, positions.get(topic, 0))
    return positions
