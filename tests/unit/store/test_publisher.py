"""Publishing each record by itself: some may fail, and that is told of each."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import NotLeaderForPartitionError

from app.store.publisher import KafkaPublisher, Outgoing


class Producer:
    """Acknowledges partitions 0 and 1, refuses 2, is silent on 3, has a bug on 4."""

    def __init__(self) -> None:
        self.stopped = False

    async def send(self, topic: str, *, partition: int, **_: Any) -> Any:
        return asyncio.ensure_future(self._acknowledged(partition))

    async def _acknowledged(self, partition: int) -> Any:
        match partition:
            case 2:
                raise NotLeaderForPartitionError
            case 3:
                await asyncio.get_running_loop().create_future()
            case 4:
                raise ZeroDivisionError
        return SimpleNamespace(partition=partition, offset=7)

    async def stop(self) -> None:
        self.stopped = True


def publisher(producers: list[Producer]) -> KafkaPublisher:
    made = KafkaPublisher({}, client_id="test", timeout_s=0.05)
    made._producer = producers[0]

    async def another() -> Producer:
        producers.append(Producer())
        return producers[-1]

    made._make = another  # type: ignore[method-assign]
    return made


def records(*partitions: int) -> list[Outgoing]:
    return [Outgoing("topic", None, b"{}", partition) for partition in partitions]


async def test_each_record_has_its_place_or_none() -> None:
    producers = [Producer()]
    made = publisher(producers)

    assert await made.publish_each(records(0, 2, 1, 3)) == [(0, 7), None, (1, 7), None]


async def test_a_producer_that_was_refused_is_made_anew_and_one_that_waited_is_not() -> None:
    producers = [Producer()]
    made = publisher(producers)
    await made.publish_each(records(0, 3))
    assert len(producers) == 1

    await made.publish_each(records(0, 2))
    await made.close()
    assert len(producers) == 2
    assert producers[0].stopped


async def test_a_bug_is_not_taken_for_a_refusal() -> None:
    with pytest.raises(ZeroDivisionError):
        await publisher([Producer()]).publish_each(records(0, 4))
