"""The sink's commits have an end."""

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError
from prometheus_client import CollectorRegistry

from app.store import lifecycle_sink
from app.store.lifecycle_sink import LifecycleSink, SinkMetrics


class Stuck:
    """A client that waits for what never comes."""

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("notify_lifecycle", 0)}

    def highwater(self, at: TopicPartition) -> int:
        return 1

    async def position(self, at: TopicPartition) -> int:
        await asyncio.Event().wait()
        return 0


async def test_a_commit_that_never_ends_ends_the_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    unused: Any = None
    metrics = SinkMetrics(CollectorRegistry())
    sink = LifecycleSink({}, unused, unused, metrics, instance="1", now_ms=lambda: 0)
    monkeypatch.setattr(sink, "_consumer", Stuck())
    monkeypatch.setattr(lifecycle_sink, "COMMIT_S", 0.01)

    with pytest.raises(KafkaTimeoutError):
        await sink._commit({})


class Behind:
    """A consumer of one partition of which 10 records are in the log."""

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("notify_lifecycle", 0)}

    def highwater(self, at: TopicPartition) -> int:
        return 10


async def test_lag_is_what_is_not_committed_and_ages_while_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    unused: Any = None
    now = [100_000]
    metrics = SinkMetrics(CollectorRegistry())
    sink = LifecycleSink({}, unused, unused, metrics, instance="1", now_ms=lambda: now[0])
    monkeypatch.setattr(sink, "_consumer", Behind())
    at, place = TopicPartition("notify_lifecycle", 0), ("notify_lifecycle", 0)

    assert sink.lags() == {}  # nobody knows yet how far it is
    sink._committed[at] = 10
    assert sink.lags() == {place: (0, 0.0)}
    sink._committed[at] = 7
    assert sink.lags() == {place: (3, 0.0)}
    now[0] += 30_000
    assert sink.lags() == {place: (3, 30.0)}
    sink._in_hand[at] = 95_000  # of the oldest in hand its own time is known
    assert sink.lags() == {place: (3, 35.0)}
