"""Standby copies on a real broker: what others own is copied, what is owned is left alone."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from app.domain.out import Produce
from app.streaming.epochs import headers_of, make_epoch
from app.streaming.producer import BatchProducer
from app.streaming.restore import Restorer
from app.streaming.standby import Standby
from app.streaming.store import PartitionStore, Reached, block_cache
from tests.conftest import MakeTopics, eventually


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[PartitionStore]]:
    cache = block_cache(1)
    stores = [PartitionStore(tmp_path / str(number), cache) for number in range(2)]
    yield stores
    for store in stores:
        store.close()


async def test_what_others_own_is_copied_as_it_grows_and_left_when_it_is_taken_over(
    kafka: str, topics: MakeTopics, stores: list[PartitionStore]
) -> None:
    [changelog, journal] = await topics("standby-rows", "standby-journal", partitions=2)
    options = {"bootstrap_servers": kafka}
    standby = Standby(Restorer(options, {"rows": changelog}, journal), stores.__getitem__, 2, clock=lambda: 7)
    await standby.leave({0})
    async with AIOKafkaProducer(**options) as producer:
        for partition in range(2):
            await producer.send_and_wait(changelog, b"row", key=b"key", partition=partition)
        copying = asyncio.create_task(standby.run())

        async def holds(value: bytes | None) -> bool:
            return stores[1].get("rows", b"key") == value

        await eventually(lambda: holds(b"row"))
        await producer.send_and_wait(changelog, None, key=b"key", partition=1)
        await eventually(lambda: holds(None))

    await standby.leave({0, 1})
    copying.cancel()
    with suppress(asyncio.CancelledError):
        await copying
    assert stores[0].get("rows", b"key") is None
    assert stores[1].reached("rows").offset == 2
    assert stores[1].touched_ms() == 7


async def test_what_a_former_owner_writes_late_is_not_copied(
    kafka: str, topics: MakeTopics, stores: list[PartitionStore]
) -> None:
    [changelog, journal] = await topics("standby-late-rows", "standby-late-journal", partitions=1)
    options = {"bootstrap_servers": kafka}
    producer = BatchProducer(options, "owners")
    await producer.start()
    for claim, value in ((3, b"old"), (7, b"new"), (3, b"old")):
        row = Produce(changelog, b"key", value, headers=headers_of(make_epoch(0, claim)))
        await producer.produce([row], 0)
    await producer.stop()

    restored = await Restorer(options, {"rows": changelog}, journal).restore(stores[0], 0)

    assert stores[0].get("rows", b"key") == b"new"
    assert restored.late == {"rows": {b"key"}}
    assert stores[0].reached("rows") == Reached(2, make_epoch(0, 7))
