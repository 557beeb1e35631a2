"""The wire before a real broker: a client goes through it, loses it, and goes on when it is healed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.dev.broker import Broker
from app.dev.ports import free_port
from faults.wire import Wire
from tests.conftest import broker_options, eventually

_LIMIT_S = 60.0
_TOPIC = "through_the_wire"


@asynccontextmanager
async def broker_behind_a_wire(folder: Path) -> AsyncIterator[tuple[str, Wire]]:
    """The broker's plain address, and the wire that leads to its other one."""
    listens, advertised = free_port(), free_port()
    broker = Broker(replace(broker_options(folder), detour=(listens, advertised)))
    await broker.start()
    try:
        async with Wire(("127.0.0.1", listens), port=advertised) as wire:
            admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
            await admin.start()
            await admin.create_topics([NewTopic(_TOPIC, 1, 1)])
            await admin.close()
            yield broker.bootstrap, wire
    finally:
        await broker.stop()


async def held(bootstrap: str) -> list[bytes]:
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        part = TopicPartition(_TOPIC, 0)
        consumer.assign([part])
        await consumer.seek_to_beginning(part)
        end = (await consumer.end_offsets([part]))[part]
        values: list[bytes] = []
        while len(values) < end:
            values += [record.value for record in (await consumer.getmany(timeout_ms=500)).get(part, [])]
        return values


async def test_a_producer_goes_through_the_wire_is_cut_and_goes_on_when_it_is_healed(tmp_path: Path) -> None:
    async with (
        broker_behind_a_wire(tmp_path) as (plain, wire),
        AIOKafkaProducer(
            bootstrap_servers=f"127.0.0.1:{wire.port}", acks="all", enable_idempotence=True, retry_backoff_ms=200
        ) as producer,
    ):
        async with asyncio.timeout(_LIMIT_S):
            await producer.send_and_wait(_TOPIC, b"before", partition=0)
            # Metadata has led it back to the wire: the broker's plain port was never told.
            assert wire.accepted >= 2

            await wire.cut()
            sending = await producer.send(_TOPIC, b"during", partition=0)
            await eventually(lambda: none_is_open(wire))
            assert not sending.done()
            assert await held(plain) == [b"before"]

            await wire.heal()
            await sending
        assert await held(plain) == [b"before", b"during"]

        wire.freeze()
        sending = await producer.send(_TOPIC, b"frozen", partition=0)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(sending), 0.5)
        assert not sending.done()
        await wire.heal()
        await asyncio.wait_for(sending, _LIMIT_S)
        assert (await held(plain))[-1] == b"frozen"


async def none_is_open(wire: Wire) -> bool:
    return wire.connections == 0
