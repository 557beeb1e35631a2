"""What the consumer's thread hands to the runners: records, and how far their partitions are read."""

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import TopicPartition
from faust.types import TP

from app.kafka.consumers import LogFetcher, Silence
from app.streaming.overrides import CheckpointConsumer, CheckpointConsumerThread
from tests.unit.kafka.test_consumers import AT, OTHER, Answer, Broker, fetcher_of
from tests.unit.kafka.wire import marker, plain, transactional


class Thread(CheckpointConsumerThread):
    """Faust's, over a fetcher of our own."""

    def __init__(self, fetcher: LogFetcher, urgent: frozenset[str] = frozenset()) -> None:
        self.app = SimpleNamespace(hooks=SimpleNamespace(urgent_topics=urgent))
        self._flow = SimpleNamespace(flow_active=True)
        self._consumer = SimpleNamespace(_fetcher=fetcher, _closed=False, _subscription=fetcher._subscriptions)

    @property
    def consumer(self) -> Any:
        return self._flow

    async def fetch(self, timeout: float = 5.0) -> dict[Any, list[Any]]:
        self.moved = {}
        found: dict[Any, list[Any]] = await self._fetch_records(
            self._consumer, {AT, OTHER}, timeout=timeout, max_records=100
        )
        return found


@pytest.fixture
async def threads() -> AsyncIterator[Any]:
    fetchers = []

    async def thread(**partitions: dict[int, Answer]) -> Thread:
        fetcher, _ = await fetcher_of(Broker(**partitions))
        fetchers.append(fetcher)
        return Thread(fetcher)

    yield thread
    for fetcher in fetchers:
        await fetcher.close()


async def test_records_come_with_the_offsets_that_they_are_all_of(threads: Any) -> None:
    thread = await threads(p0={0: Answer(plain(3, b"a") + marker(4, 9, commit=True), lso=5)})
    records = await thread.fetch()

    assert [one.offset for one in records[AT]] == [3]
    assert thread.moved == {TP(*AT): (0, 5)}


HOLES = {
    "a marker": Answer(marker(0, 9, commit=True), lso=1),
    "aborted records": Answer(transactional(0, 9, b"a", b"b"), lso=2, aborted=[(9, 0)]),
    "what compaction took": Answer(lso=7),
}


@pytest.mark.parametrize("hole", HOLES)
async def test_a_position_that_moved_is_told_at_once_though_no_record_came(
    threads: Any, hole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Silence, "LEAST_S", 0.0)
    thread = await threads(p0={0: HOLES[hole]})
    async with asyncio.timeout(60):  # (far less than the time that the fetch may take)
        records = await thread.fetch(timeout=600.0)

    assert not records
    assert thread.moved == {TP(*AT): (0, HOLES[hole].lso)}


async def test_what_did_not_move_is_not_told(threads: Any) -> None:
    thread = await threads(p0={0: Answer(lso=0)}, p1={0: Answer(plain(0, b"a"), lso=1), 1: Answer(lso=1)})
    await thread.fetch()

    assert thread.moved == {TP(*OTHER): (0, 1)}
    assert await thread.fetch(timeout=0.05) == {}
    assert thread.moved == {}


OPEN = Answer(lso=4, end=9)


@pytest.mark.parametrize(
    ("answer", "position", "expected"),
    [
        pytest.param(OPEN, 4, True, id="all was read but for what lies behind an open transaction"),
        pytest.param(OPEN, 3, False, id="there is something to read before it"),
        pytest.param(Answer(lso=9, end=9), 9, False, id="all was read"),
    ],
)
async def test_what_is_held_by_an_open_transaction(threads: Any, answer: Answer, position: int, expected: bool) -> None:
    thread = await threads(p0={0: Answer(lso=0)})
    state = thread._consumer._subscription.subscription.assignment.state_value(AT)
    state.seek(position)
    state.lso, state.highwater, state.timestamp = answer.lso, answer.end, int(time.time() * 1000)

    assert thread.is_held(TP(*AT)) is expected
    assert not thread.is_held(TP("events", 77))


async def test_a_broker_that_says_nothing_any_more_holds_nothing(threads: Any) -> None:
    """Else a fetcher that has died would look like a transaction that never ends."""
    thread = await threads(p0={0: Answer(lso=0)})
    state = thread._consumer._subscription.subscription.assignment.state_value(AT)
    state.seek(4)
    state.lso, state.highwater, state.timestamp = 4, 9, int(time.time() * 1000) - 60_000

    assert not thread.is_held(TP(*AT))


class Draining(CheckpointConsumer):
    """Hands out what each of these takes of its thread brought."""

    def __init__(self, *takes: tuple[dict[TP, Any], dict[TP, tuple[int, int]]], flows: bool = True) -> None:
        self.takes, self.flows, self.again = list(takes), flows, dict[TP, int]()
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        channel = SimpleNamespace(queue=self.queue)
        self.app = SimpleNamespace(
            consumer_generation_id=7, topics=SimpleNamespace(_tp_index={TP(*AT): [channel], TP(*OTHER): [channel]})
        )
        self._thread: Any = SimpleNamespace(moved={}, end_offsets={}, urgent_came=True, fetch_again=self._fetch_again)
        self._paused_partitions: set[TP] = set()
        self._over = asyncio.Event()

    async def _fetch_again(self, positions: dict[TP, int]) -> None:
        self.again |= positions

    @property
    def flow_active(self) -> bool:
        return self.flows

    @property
    def _stopped(self) -> Any:
        return self._over

    async def _wait_next_records(self, timeout: float) -> Any:
        if not self.takes:
            self._over.set()
            return {}, None
        records, self._thread.moved = self.takes.pop(0)
        return records, None

    async def handed_out(self) -> list[tuple[TopicPartition, int, int, int]]:
        await self._drain_messages(SimpleNamespace(_stopped=self._over))
        found = [self.queue.get_nowait() for _ in range(self.queue.qsize())]
        return [(TopicPartition(f.topic, f.partition), len(f.records), f.start, f.position) for f in found]


async def test_a_runner_hears_of_every_move_with_records_or_without() -> None:
    draining = Draining(({TP(*AT): ["r", "r"]}, {TP(*AT): (3, 9), TP(*OTHER): (1, 2)}), ({}, {TP(*AT): (9, 10)}))

    assert await draining.handed_out() == [(AT, 2, 3, 9), (OTHER, 0, 1, 2), (AT, 0, 9, 10)]
    assert draining.again == {}


async def test_what_came_during_a_rebalance_is_fetched_again_from_where_it_began() -> None:
    draining = Draining(({TP(*AT): ["r"]}, {TP(*AT): (3, 9), TP(*OTHER): (1, 2)}), flows=False)

    assert await draining.handed_out() == []
    assert draining.again == {TP(*AT): 3, TP(*OTHER): 1}
