"""Rows that come late to a changelog, from a worker that had lost the partition: nobody restores them, and whoever owns
the partition sees to it that they aren't the last word."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from random import Random

import pytest
from aiokafka.errors import KafkaConnectionError

from app.domain.out import Produce
from app.streaming.checkpoints import Checkpoints
from app.streaming.epochs import headers_of, make_epoch
from app.streaming.journal import CLAIM, ENTRY, Fenced, JournalPosition
from app.streaming.producer import ProduceFailed, Span
from app.streaming.store import PartitionStore, Reached, block_cache
from schemas.topics import changelog_topic, journal_topic
from tests.simulation.broker import Broker
from tests.simulation.clients import LogRestorer

_CHANGELOG, _JOURNAL = changelog_topic("router", "rows"), journal_topic("router")
#: Of two owners, whose claims lie in the journal.
_OLD, _NEW = make_epoch(0, 0), make_epoch(0, 1)
_CACHE = block_cache(1)


class Kafka:
    """A log in memory, and a producer whose records land at once. ``broken``: it fails; ``meanwhile``: what happens
    while the next rows are on their way."""

    def __init__(self) -> None:
        self.broker = Broker(lambda: 0, lambda: 0.0)
        self.restorer = LogRestorer(self.broker, Random(0), {"rows": _CHANGELOG}, _JOURNAL)
        self.broken = self.away = False
        self.meanwhile: list[Callable[[], Awaitable[object]]] = []
        for _ in range(2):
            self.broker.append(0, Produce(_JOURNAL, CLAIM, b"an owner"))

    async def append(self, topic: str, partition: int, value: bytes, key: bytes = ENTRY) -> int:
        return self.broker.append(partition, Produce(topic, key, value))

    async def produce(self, records: Iterable[Produce], partition: int) -> dict[tuple[str, int], Span]:
        if self.broken:
            raise ProduceFailed("not acknowledged")
        while self.meanwhile:
            await self.meanwhile.pop()()
        offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
        for record in records:
            offsets[record.topic, partition].append(self.broker.append(partition, record))
        return {where: Span(at[0], at[-1] + 1, len(at)) for where, at in offsets.items()}

    async def ends(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        if self.away:
            raise KafkaConnectionError
        return {topic: self.broker.end(topic, partition) for topic in topics}

    def write(self, epoch: bytes, key: bytes, value: bytes | None) -> None:
        """Somebody writes a row."""
        self.broker.append(0, Produce(_CHANGELOG, key, value, headers=headers_of(epoch) if epoch else ()))

    def last_words(self) -> dict[bytes, bytes]:
        """What compaction will leave of the changelog."""
        return self.broker.folded(_CHANGELOG, 0)

    def checkpoints(self, store: PartitionStore) -> Checkpoints:
        return Checkpoints(0, store, "router", ["rows"], self, self.restorer, self.ends, 10.0, lambda: 0)  # type: ignore[arg-type]

    async def owner(self, store: PartitionStore, committed: JournalPosition | None = None) -> Checkpoints:
        checkpoints = self.checkpoints(store)
        await checkpoints.open("router-1", committed, lambda done, of: None)
        return checkpoints


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[PartitionStore]]:
    stores = [PartitionStore(tmp_path / str(number), _CACHE) for number in range(3)]
    yield stores
    for store in stores:
        store.close()


@pytest.fixture
def store(stores: list[PartitionStore]) -> PartitionStore:
    return stores[0]


def rows(store: PartitionStore) -> dict[bytes, bytes]:
    return dict(store.scan("rows", b"", None))


# --- restoring ---


async def test_a_row_that_came_late_is_not_restored_but_told(kafka: Kafka, store: PartitionStore) -> None:
    kafka.write(_OLD, b"k", b"old")
    kafka.write(_NEW, b"k", b"new")
    kafka.write(_OLD, b"k", b"old")

    restored = await kafka.restorer.restore(store, 0)

    assert rows(store) == {b"k": b"new"}
    assert (restored.late, restored.ends) == ({"rows": {b"k"}}, {"rows": 3})


async def test_what_was_seen_before_a_stop_counts_after_it(kafka: Kafka, store: PartitionStore) -> None:
    kafka.write(_NEW, b"k", b"new")
    await kafka.restorer.restore(store, 0)
    kafka.write(_OLD, b"k", None)

    await kafka.restorer.restore(store, 0)

    assert rows(store) == {b"k": b"new"}


async def test_it_is_told_to_whoever_restores_until_it_was_said_again(kafka: Kafka, store: PartitionStore) -> None:
    kafka.write(_NEW, b"k", b"new")
    kafka.write(_OLD, b"k", b"old")
    kafka.write(_NEW, b"l", b"other")

    told = [(await kafka.restorer.restore(store, 0)).late for _ in range(2)]
    kafka.write(_NEW, b"k", b"new")
    told.append((await kafka.restorer.restore(store, 0)).late)

    assert [b"k" in late.get("rows", ()) for late in told] == [True, True, False]
    assert store.reached("rows") == Reached(4, _NEW)
    assert rows(store) == {b"k": b"new", b"l": b"other"}


async def test_rows_that_say_nothing_count_wherever_they_lie(kafka: Kafka, store: PartitionStore) -> None:
    """A worker of an earlier version may have owned the partition in between."""
    kafka.write(_NEW, b"k", b"new")
    kafka.write(b"", b"k", b"newer")
    kafka.write(_OLD, b"k", b"old")

    await kafka.restorer.restore(store, 0)

    assert rows(store) == {b"k": b"newer"}


# --- opening ---


async def test_who_opens_a_partition_says_again_what_came_late(kafka: Kafka, store: PartitionStore) -> None:
    kafka.write(_NEW, b"k", b"newer")
    kafka.write(_NEW, b"l", None)
    kafka.write(_OLD, b"k", b"old")
    kafka.write(_OLD, b"l", b"old")

    await kafka.owner(store)

    assert rows(store) == kafka.last_words() == {b"k": b"newer"}
    assert store.reached("rows").offset == kafka.broker.end(_CHANGELOG, 0)


async def test_of_the_journal_only_the_last_entry_can_be_owed(kafka: Kafka, stores: list[PartitionStore]) -> None:
    first = await kafka.owner(stores[0])
    await first.make({"e": 1}, {"rows": {b"k": b"1"}}, [])
    await first.make({"e": 2}, {"rows": {b"k": b"2"}}, [])
    kafka.broken = True
    with pytest.raises(ProduceFailed):
        await first.make({"e": 3}, {"rows": {b"l": b"3"}}, [])
    kafka.broken = False

    _, pending_entry = await kafka.checkpoints(stores[1]).open("router-2", JournalPosition(3, 2), lambda done, of: None)

    assert pending_entry.entry is not None
    assert pending_entry.entry[1].changes == {"rows": {b"l": b"3"}}
    assert rows(stores[1]) == kafka.last_words() == {b"k": b"2", b"l": b"3"}
    assert [r.value for r in kafka.broker.of(_CHANGELOG)] == [b"1", b"2", b"3"]


async def test_what_is_known_to_be_carried_out_is_not_owed(kafka: Kafka, stores: list[PartitionStore]) -> None:
    first = await kafka.owner(stores[0])
    journal_position = await first.make({"e": 1}, {"rows": {b"k": b"1"}}, [])

    for store, committed in ((stores[0], None), (stores[1], journal_position)):
        _, pending_entry = await kafka.checkpoints(store).open("router-2", committed, lambda done, of: None)
        assert (pending_entry.entry, pending_entry.positions) == (None, {"e": 1})


async def test_a_journal_that_was_made_anew_counts_from_0_and_its_rows_count(
    kafka: Kafka, stores: list[PartitionStore]
) -> None:
    kafka.write(make_epoch(2, 900), b"k", b"old")

    owner = await kafka.owner(stores[0])
    await owner.make({}, {"rows": {b"k": b"new"}}, [])

    assert stores[0].reached("rows") == Reached(2, make_epoch(3, 2))
    await kafka.restorer.restore(stores[1], 0)
    assert rows(stores[1]) == {b"k": b"new"}


async def test_who_opens_a_partition_that_was_taken_over_meanwhile_is_stopped(
    kafka: Kafka, stores: list[PartitionStore]
) -> None:
    late = kafka.checkpoints(stores[0])
    restore = kafka.restorer.restore

    async def stand_still_and_restore(*args: object) -> object:
        kafka.restorer.restore = restore  # type: ignore[method-assign]
        newer = await kafka.owner(stores[1])
        await newer.make({}, {"rows": {b"k": b"new"}}, [])
        return await restore(*args)  # type: ignore[arg-type]

    kafka.restorer.restore = stand_still_and_restore  # type: ignore[method-assign, assignment]

    with pytest.raises(Fenced):
        await late.open("router-1", None, lambda done, of: None)


# --- owning ---


async def test_an_owner_that_writes_again_says_again_what_came_late(kafka: Kafka, store: PartitionStore) -> None:
    kafka.write(_OLD, b"k", b"old")
    owner = await kafka.owner(store)
    kafka.write(_OLD, b"k", b"older")

    await owner.make({}, {"rows": {b"l": b"new"}}, [])

    assert rows(store) == kafka.last_words() == {b"k": b"old", b"l": b"new"}


async def test_an_owner_that_writes_no_more_looks(kafka: Kafka, store: PartitionStore) -> None:
    kafka.write(_OLD, b"k", b"old")
    owner = await kafka.owner(store)
    kafka.write(_OLD, b"k", None)
    kafka.write(_OLD, b"l", b"late")

    await owner.look()

    assert rows(store) == kafka.last_words() == {b"k": b"old"}
    said = kafka.broker.end(_CHANGELOG, 0)
    await owner.look()
    assert kafka.broker.end(_CHANGELOG, 0) == said


async def test_what_the_owner_wrote_after_a_late_row_is_not_said_again(kafka: Kafka, store: PartitionStore) -> None:
    owner = await kafka.owner(store)
    kafka.write(_OLD, b"k", b"late")

    await owner.make({}, {"rows": {b"k": b"new"}}, [])

    assert kafka.broker.end(_CHANGELOG, 0) == 2


async def test_a_store_is_not_beyond_a_late_row_before_it_was_said_again(kafka: Kafka, store: PartitionStore) -> None:
    owner = await kafka.owner(store)
    await owner.make({}, {"rows": {b"k": b"new"}}, [])
    kafka.write(_OLD, b"k", b"late")
    kafka.broken = True
    with pytest.raises(ProduceFailed):
        await owner.look()
    kafka.broken = False

    assert store.reached("rows").offset == 1
    await kafka.owner(store)
    assert rows(store) == kafka.last_words() == {b"k": b"new"}


@pytest.mark.parametrize("does", ["writes", "looks"])
async def test_an_owner_that_reads_a_newer_ones_rows_stops_and_its_store_keeps_them(
    does: str, kafka: Kafka, stores: list[PartitionStore]
) -> None:
    """The entry lay in the journal before the newer one's claim: it is carried out late."""
    former = await kafka.owner(stores[0])
    await former.make({}, {"rows": {b"k": b"old"}}, [])

    async def take_over() -> None:
        newer = await kafka.owner(stores[1])
        await newer.make({}, {"rows": {b"l": b"new"}}, [])

    if does == "looks":
        await take_over()
        acting: Awaitable[object] = former.look()
    else:
        kafka.meanwhile.append(take_over)
        acting = former.make({}, {"rows": {b"k": b"older"}}, [])
    with pytest.raises(Fenced):
        await acting

    assert stores[0].reached("rows").offset == 1
    for store in (stores[2], stores[0]):
        await kafka.owner(store)
        assert rows(store) == kafka.last_words()
        assert rows(store)[b"l"] == b"new"


async def test_a_broker_that_is_away_when_the_owner_looks_stops_nothing(kafka: Kafka, store: PartitionStore) -> None:
    owner = await kafka.owner(store)
    kafka.away = True

    await owner.look()
