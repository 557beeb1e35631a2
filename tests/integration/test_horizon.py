"""What a real broker tells with the records that it hands out: how far the commands go."""

import asyncio
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faust.types import TP

from app.streaming.overrides import listen, space_out
from tests.conftest import MakeTopics

_ROUNDS, _PARTITIONS, _LIMIT_S = 300, 3, 120.0


async def test_a_fetch_with_a_request_reports_an_end_after_commands_acknowledged_before(
    kafka: str, topics: MakeTopics
) -> None:
    """Commands and requests follow each other as fast as the broker acknowledges them, while fetches wait for them."""
    commands, requests = await topics("commands", "requests", partitions=_PARTITIONS)
    assigned = [TopicPartition(topic, n) for topic in (commands, requests) for n in range(_PARTITIONS)]
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=None, auto_offset_reset="earliest")
    consumer.assign(assigned)
    await consumer.start()
    told = listen(consumer._fetcher, commands, lambda: int(time.time() * 1000))
    space_out(consumer._fetcher, frozenset)
    #: By partition: the offset of each request's command, in the order of the requests.
    before: dict[int, list[int]] = {n: [] for n in range(_PARTITIONS)}

    async def produce(partition: int) -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all", linger_ms=0) as producer:
            for _ in range(_ROUNDS):
                said = await producer.send_and_wait(commands, b"command", partition=partition)
                before[partition].append(said.offset)
                await producer.send_and_wait(requests, b"request", partition=partition)

    asked = told_of = 0
    producing = asyncio.gather(*(produce(n) for n in range(_PARTITIONS)))
    try:
        async with asyncio.timeout(_LIMIT_S):
            while asked < _PARTITIONS * _ROUNDS:
                for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                    if tp.topic != requests:
                        continue
                    asked += len(records)
                    end_offset = told.get(TP(*tp))
                    if end_offset is not None:
                        told_of += len(records)
                        assert end_offset.end > max(before[tp.partition][record.offset] for record in records)
            await producing
    finally:
        producing.cancel()
        await consumer.stop()

    assert told_of > 0
