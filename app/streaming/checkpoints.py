"""Checkpoints of one partition, as its owner makes them: the journal, then changelogs and outputs, then the store.

The owner also sees to it that each changelog's last word on a row is the last that was journaled: rows of a former
owner that come late are written once more, as they are (docs/decisions/0005-fencing-epochs.md).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import structlog
from aiokafka.errors import KafkaError
from msgspec import structs

from app.domain.out import SAME_PARTITION, Produce
from app.streaming.epochs import NO_EPOCH, headers_of
from app.streaming.failpoints import reach
from app.streaming.journal import Entry, JournalPosition, OwnedJournal
from app.streaming.oversized import instead_of, mended
from app.streaming.producer import BatchProducer, RecordRefused, Span
from app.streaming.restore import PendingEntry, Restorer
from app.streaming.store import PartitionStore, Reached
from schemas.topics import changelog_topic, journal_topic

log = structlog.get_logger(__name__)

#: The key of a row that no table has.
NO_ROW = b""

#: Where a partition of these topics ends. Raises KafkaError.
Ends = Callable[[Iterable[str], int], Awaitable[Mapping[str, int]]]


class Checkpoints:
    """Owns a partition's journal, changelogs and store while this process has it."""

    def __init__(
        self,
        partition: int,
        store: PartitionStore,
        role: str,
        tables: Sequence[str],
        producer: BatchProducer,
        restorer: Restorer,
        ends: Ends,
        look_every_s: float,
        clock: Callable[[], int],
    ) -> None:
        """``clock``: Unix ms."""
        self._role = role
        self._clock = clock
        self._partition = partition
        self._store = store
        self._topics = {table: changelog_topic(role, table) for table in tables}
        self._producer = producer
        self._restorer = restorer
        self._ask_ends = ends
        self._look_every_s = look_every_s
        self._journal = OwnedJournal(producer, restorer.claimed, journal_topic(role), partition)
        self._epoch = NO_EPOCH
        self._headers = headers_of(NO_EPOCH)
        #: The next offset of each changelog that this owner's rows are to have.
        self._ends: dict[str, int] = {}
        #: Rows that a former owner's late ones speak of, and that weren't said again yet.
        self._late: dict[str, set[bytes]] = {}
        #: When the changelogs were last looked at, by the loop's time.
        self.looked_at = 0.0

    async def open(
        self, owner: str, committed: JournalPosition | None, progress: Callable[[int, int], None]
    ) -> tuple[int, PendingEntry]:
        """Takes the partition over and brings its store up to date. Returns how many rows that took, and what was
        pending. ``committed``: the last entry that the group's commit had carried out. Raises Fenced."""
        claim = await self._journal.claim(owner)
        looked_at = asyncio.get_running_loop().time()
        restored = await self._restorer.restore(self._store, self._partition, progress)
        self._epoch = await self._journal.epoch(max(self._store.reached(table).epoch for table in self._topics))
        self._headers = headers_of(self._epoch)
        self._ends, self._late = restored.ends, restored.late
        pending_entry = await self._restorer.pending_entry(self._store, self._partition, committed, claim)
        if pending_entry.entry is not None:
            await self._carry_out_pending(*pending_entry.entry)
        for table in list(self._late):
            await self._mend(table, self._ends[table])
        self.looked_at = looked_at
        return restored.rows, pending_entry

    async def make(
        self,
        positions: dict[str, int],
        changes: dict[str, dict[bytes, bytes | None]],
        outputs: list[Produce],
        journaled: Callable[[], None] = lambda: None,
    ) -> JournalPosition:
        """Calls ``journaled`` when nothing can undo it any more; when it returns, all of it is carried out.

        Raises Fenced, ProduceFailed.
        """
        reach("before_journal")
        journal_position, entry = await self._journal.append(positions, changes, outputs)
        reach("after_journal")
        journaled()
        await self._carry_out(entry, journal_position)
        return journal_position

    async def probe(self, positions: dict[str, int], records: int) -> dict[str, int]:
        """Writes so many records without meaning to each changelog and to the journal: deletions of a row that never
        was, and entries with nothing in them. Returns where the first of them lies, by topic. Raises Fenced,
        ProduceFailed."""
        entries = [(await self._journal.append(positions, {}, []))[0] for _ in range(records)]
        rows = [row for table in self._topics for _ in range(records) for row in self._rows({table: {NO_ROW: None}})]
        produced = await self._producer.produce(rows, self._partition)
        reached: dict[str, Reached] = {}
        for table, topic in self._topics.items():
            span = produced[topic, self._partition]
            if self._is_all(table, span):
                self._ends[table] = span.end
                reached[table] = Reached(span.end, self._epoch)
            else:
                await self._mend(table, span.end)
        self._store.write({}, reached, entries[-1])
        first = {topic: produced[topic, self._partition].first for topic in self._topics.values()}
        return first | {self._journal.topic: entries[0].entry}

    @property
    def journaled(self) -> int:
        """The offset of the journal's latest record: of the last checkpoint, or of the claim."""
        return self._journal.latest

    async def look_now_and_then(self) -> None:
        """To be called often, between checkpoints."""
        if asyncio.get_running_loop().time() - self.looked_at >= self._look_every_s:
            await self.look()

    async def look(self) -> None:
        """Sees whether somebody else wrote to the changelogs. Raises Fenced where that is a newer owner."""
        looked_at = asyncio.get_running_loop().time()
        try:
            ends = await self._ask_ends(self._topics.values(), self._partition)
        except KafkaError as error:
            log.warning("can't get the changelogs' end offsets: retrying later", error=repr(error))
        else:
            for table, topic in self._topics.items():
                if ends[topic] > self._ends[table]:
                    await self._mend(table, ends[topic])
        self.looked_at = looked_at

    async def _carry_out_pending(self, journal_position: JournalPosition, entry: Entry) -> None:
        """An entry may be of a version that didn't know what topics take, and a topic may take less than it should."""
        outputs = mended(entry.outputs, self._partition, self._role, self._clock())
        try:
            await self._carry_out(structs.replace(entry, outputs=outputs), journal_position)
        except RecordRefused as refused:
            log.error("a topic accepts less than declared: run tocsin topics apply", error=str(refused))
            for output in await self._producer.produce_what_fits(outputs, self._partition):
                letter = instead_of(output, self._partition, self._role, self._clock())
                if await self._producer.produce_what_fits([letter], self._partition):
                    raise
            await self._carry_out(structs.replace(entry, outputs=[]), journal_position)

    async def _carry_out(self, entry: Entry, journal_position: JournalPosition) -> None:
        produced = await self._producer.produce([*self._rows(entry.changes), *entry.outputs], self._partition)
        reach("after_outputs")
        spans = {table: produced[self._topics[table], self._partition] for table in entry.changes}
        mixed = [table for table, span in spans.items() if not self._is_all(table, span)]
        reached = {table: Reached(span.end, self._epoch) for table, span in spans.items() if table not in mixed}
        self._store.write(entry.changes, reached, journal_position)
        reach("after_store")
        for table, (end, _) in reached.items():
            self._ends[table] = end
        for table in mixed:
            await self._mend(table, spans[table].end)

    def _rows(self, changes: Mapping[str, Mapping[bytes, bytes | None]]) -> Iterable[Produce]:
        headers = self._headers
        for table, rows in changes.items():
            topic = self._topics[table]
            for key, value in rows.items():
                yield Produce(topic, key, value, SAME_PARTITION, None, headers)

    def _is_all(self, table: str, span: Span) -> bool:
        """Whether there is nothing in the changelog up to there but what this owner knows of."""
        return span.first == self._ends[table] and span.end - span.first == span.records and table not in self._late

    async def _mend(self, table: str, end: int) -> None:
        """Has the changelog's last word on every row be the store's. Only then is the store up to there: until then,
        whoever opens it sees the late ones, too."""
        late = self._late.pop(table, set()) | await self._written_late(table, self._ends[table], end)
        while late:
            log.warning("found stale writes of a former owner", table=table, partition=self._partition, rows=len(late))
            rows = {key: self._store.get(table, key) for key in late}
            produced = await self._producer.produce(self._rows({table: rows}), self._partition)
            span, start = produced[self._topics[table], self._partition], end
            end, late = span.end, await self._written_late(table, start, span.end, span.records)
        self._ends[table] = end
        self._store.write({}, {table: Reached(end, self._epoch)})

    async def _written_late(self, table: str, start: int, end: int, ours: int = 0) -> set[bytes]:
        """``ours``: as many of the records there are certainly this owner's."""
        if end - start == ours:
            return set()
        return await self._restorer.late(table, self._partition, start, end, self._epoch)
