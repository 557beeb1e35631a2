"""Positions: a consumer passes every hole in the log, and takes nothing for a hole that might not be one."""

import ast
import asyncio
import gzip
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.structs import TopicPartition

from app.kafka import consumers
from app.kafka.consumers import LogConsumer, LogFetcher, Silence, adopt
from app.kafka.records import Unreadable
from app.kafka.unpacking import MOST_BYTES
from tests.unit.kafka.wire import batch, marker, plain, record, spoilt, transactional

AT, OTHER = TopicPartition("events", 0), TopicPartition("events", 1)
UNKNOWN_LEADER = 6


class Answer(SimpleNamespace):
    """What the broker says of one partition."""

    def __init__(
        self, data: bytes = b"", *, lso: int, end: int | None = None, aborted: Any = (), error: int = 0
    ) -> None:
        super().__init__(data=data, lso=lso, end=lso if end is None else end, aborted=list(aborted), error=error)


class Broker:
    """Answers fetches by the offset that they ask for."""

    _metadata_max_age_ms = 300_000

    def __init__(self, **partitions: dict[int, Answer]) -> None:
        self._loop = asyncio.get_running_loop()
        self.cluster = SimpleNamespace(leader_for_partition=lambda tp: 0, broker_metadata=lambda node: object())
        self.answers = {TopicPartition("events", int(name[1:])): answers for name, answers in partitions.items()}
        self.fetches = 0

    def force_metadata_update(self) -> Any:
        return asyncio.get_running_loop().create_future()

    async def send(self, node: int, request: Any) -> Any:
        await asyncio.sleep(0.002)
        self.fetches += 1
        topics = []
        for topic, partitions in request.topics:
            said = []
            for number, offset, _ in partitions:
                answer = self.answers[TopicPartition(topic, number)].get(offset)
                if answer is not None:  # (else it is throttled: nothing is said of it)
                    said.append((number, answer.error, answer.end, answer.lso, 0, answer.aborted, -1, answer.data))
            topics.append((topic, said))
        return SimpleNamespace(API_VERSION=11, topics=topics)


async def fetcher_of(broker: Broker, isolation: str = "read_committed") -> tuple[LogFetcher, Any]:
    subscription = SubscriptionState()
    subscription.assign_from_user(list(broker.answers))
    assignment = subscription.subscription.assignment
    for tp in broker.answers:
        assignment.state_value(tp).seek(0)
    fetcher = LogFetcher(
        broker, subscription, isolation_level=isolation, auto_offset_reset="earliest", fetcher_timeout=0.01
    )
    return fetcher, assignment


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Silence, "LEAST_S", 0.0)


async def read(broker: Broker, until: int, isolation: str = "read_committed", at: TopicPartition = AT) -> list[Any]:
    """What is read until the position is reached; fails when it isn't within a while."""
    fetcher, assignment = await fetcher_of(broker, isolation)
    found: list[Any] = []
    try:
        async with asyncio.timeout(60):
            while assignment.state_value(at).position < until:
                for records in (await fetcher.fetched_records([], timeout=0.01)).values():
                    found += records
    finally:
        await fetcher.close()
    return found


HOLES: dict[str, dict[int, Answer]] = {
    "commit marker at the end": {0: Answer(transactional(0, 9, b"a") + marker(1, 9, commit=True), lso=2)},
    "abort marker at the end": {
        0: Answer(transactional(0, 9, b"a") + marker(1, 9, commit=False), lso=2, aborted=[(9, 0)])
    },
    "aborted records only": {0: Answer(transactional(0, 9, b"a", b"b"), lso=2, aborted=[(9, 0)])},
    "an abort marker alone": {0: Answer(marker(0, 9, commit=False), lso=1, aborted=[(9, 0)])},
    "a batch that compaction emptied": {0: Answer(batch(0, [], last_delta=4), lso=5)},
    "the end of a batch that compaction took": {0: Answer(batch(0, [record(0, b"k", b"a")], last_delta=4), lso=5)},
    "all up to the end, which compaction took": {0: Answer(lso=7)},
    "all after a record, which compaction took": {0: Answer(plain(0, b"a"), lso=7), 1: Answer(lso=7)},
    "records that can't be read": {n: Answer(spoilt(plain(0, b"a", b"b")), lso=2) for n in (0, 1)},
}


@pytest.mark.parametrize("hole", HOLES)
async def test_the_position_passes_every_hole(hole: str) -> None:
    found = await read(Broker(p0=HOLES[hole]), max(answer.lso for answer in HOLES[hole].values()))

    assert {one.value for one in found if not isinstance(one, Unreadable)} <= {b"a"}
    assert all(one.offset == 0 for one in found)


async def test_what_lies_behind_an_open_transaction_waits_and_is_no_hole() -> None:
    broker = Broker(p0={0: Answer(plain(0, b"a"), lso=1, end=9), 1: Answer(lso=1, end=9)})
    fetcher, assignment = await fetcher_of(broker)
    try:
        async with asyncio.timeout(60):
            while broker.fetches < 3 * Silence.ANSWERS:
                await fetcher.fetched_records([], timeout=0.01)
    finally:
        await fetcher.close()

    assert assignment.state_value(AT).position == 1


async def test_who_reads_what_is_not_committed_yet_sees_holes_up_to_the_end_of_the_log() -> None:
    assert await read(Broker(p0={0: Answer(lso=-1, end=9)}), 9, "read_uncommitted") == []


@pytest.mark.parametrize("silent", [None, Answer(lso=7, error=UNKNOWN_LEADER)], ids=["a throttled answer", "an error"])
async def test_an_answer_that_says_nothing_of_a_partition_is_no_hole(silent: Answer | None) -> None:
    broker = Broker(p0={} if silent is None else {0: silent})
    fetcher, assignment = await fetcher_of(broker)
    try:
        async with asyncio.timeout(60):
            while broker.fetches < 3 * Silence.ANSWERS:
                await fetcher.fetched_records([], timeout=0.01)
    finally:
        await fetcher.close()

    assert assignment.state_value(AT).position == 0


async def test_a_partition_that_an_answer_had_no_room_for_has_no_hole() -> None:
    """A broker fills an answer in the request's order, and sends nothing of what no longer fits."""
    full = {n: Answer(plain(n, b"a"), lso=1_000) for n in range(50)}
    broker = Broker(p0={0: Answer(lso=7)}, p1=full)
    fetcher, assignment = await fetcher_of(broker)
    try:
        async with asyncio.timeout(60):
            while assignment.state_value(OTHER).position < 50:
                await fetcher.fetched_records([], timeout=0.01)
                assert assignment.state_value(AT).position == 0
    finally:
        await fetcher.close()


async def test_batches_that_unpack_to_too_much_delay_no_other_partition_in_bounded_memory() -> None:
    """Four thousand of them fit into one fetch."""
    packed = gzip.compress(bytes(MOST_BYTES + 1))
    bombs = b"".join(batch(n, [record(0, b"k", b"")], codec=1, pack=lambda _: packed) for n in range(5))
    broker = Broker(
        p0={0: Answer(bombs + plain(12, b"a"), lso=13)}, p1={n: Answer(plain(n, b"b"), lso=9) for n in range(9)}
    )
    fetcher, assignment = await fetcher_of(broker)
    takes: list[tuple[int, int]] = []
    found: list[Any] = []
    tracemalloc.start()
    try:
        async with asyncio.timeout(60):
            while assignment.state_value(AT).position < 6:
                taken = await fetcher.fetched_records([], timeout=0.01)
                takes.append((len(taken.get(AT, ())), len(taken.get(OTHER, ()))))
                found += taken.get(AT, ())
                await asyncio.sleep(0.005)  # as whoever hands them on does: others have their turn
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await fetcher.close()

    assert [type(one) is Unreadable for one in found] == [True] * 5 + [False]
    assert {one.code for one in found[:-1]} == {"too_large"}
    assert max(bombs for bombs, _ in takes) <= 2  # (the record behind comes with the last of them)
    assert sum(1 for _, others in takes if others) >= 2
    assert peak < 4 * MOST_BYTES


async def test_one_answer_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    silence = Silence(0, 100.0)
    monkeypatch.setattr(Silence, "LEAST_S", 5.0)

    assert [silence.goes_on(now) for now in (101.0, 104.0, 104.9, 105.0)] == [False, False, False, True]
    assert [Silence(0, 100.0).goes_on(now) for now in (106.0,)] == [False]


async def test_our_consumers_read_what_was_committed_and_take_the_largest_batch() -> None:
    consumer = LogConsumer(bootstrap_servers="127.0.0.1:9")
    adopted = adopt(AIOKafkaConsumer(bootstrap_servers="127.0.0.1:9"))
    for one in (consumer, adopted):
        assert isinstance(one, LogConsumer)
        assert one._isolation_level == "read_committed"
        assert one._max_partition_fetch_bytes == consumers.PARTITION_BYTES
    assert not consumer._enable_auto_commit


#: May read what is not committed: they ask only for ends, which are those of the log, or build another's consumer.
OTHERS = {"app/streaming/end_offsets.py", "app/kafka/consumers.py"}


@pytest.fixture
def sources() -> list[Path]:
    return [path for folder in ("app", "agents", "tables", "schemas") for path in Path(folder).rglob("*.py")]


def test_every_consumer_is_one_of_ours(sources: list[Path]) -> None:
    strangers = {
        str(path)
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "AIOKafkaConsumer"
    }
    assert strangers <= OTHERS
