"""The programs of examples/ do what their page says, on a real broker."""

import asyncio
import sys
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.cloudevents import read_event
from schemas.lifecycle import LifecycleEvent, encode_lifecycle
from tests.conftest import MakeTopics

EXAMPLES = Path(__file__).parents[2] / "examples"
LIMIT_S = 120


async def run(program: str, *options: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLES / program, *options, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    return output.decode()


async def test_the_producer_writes_a_request_that_tocsin_takes(kafka: str, topics: MakeTopics) -> None:
    [topic] = await topics("examples_events")

    output = await run("produce.py", "--bootstrap", kafka, "--topic", topic, "--user", "ada", "--key", "k-1")

    assert output == f"{topic}[0] at 0: k-1\n"
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka)
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.seek_to_beginning()
    async with asyncio.timeout(LIMIT_S):
        record = await consumer.getone()
    await consumer.stop()
    assert record.key == b"ada"
    request, _ = read_event(record.value, record.headers, record.timestamp, frozenset(), record.key)
    assert (request.user_id, request.source, request.idempotency_key) == ("ada", "examples", "k-1")


async def test_the_consumer_prints_each_event_of_the_user_once(kafka: str, topics: MakeTopics) -> None:
    [topic] = await topics("examples_lifecycle")
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for user, event_id, status in (("ada", "1", "accepted"), ("bob", "2", "accepted"), ("ada", "1", "accepted")):
        await producer.send_and_wait(topic, event(user, event_id, status), key=user.encode())
    await producer.send_and_wait(topic, event("ada", "3", "queued", "in_app"), key=b"ada")
    await producer.stop()

    output = await run("consume_lifecycle.py", "--bootstrap", kafka, "--topic", topic, "--user", "ada", "--events", "2")

    assert [line.split()[1:] for line in output.splitlines()] == [
        ["n-1", "all", "channels", "accepted"],
        ["n-1", "in_app", "queued"],
    ]


def event(user_id: str, event_id: str, status: str, channel: str | None = None) -> bytes:
    return encode_lifecycle(
        LifecycleEvent(
            event_id=event_id,
            notification_id="n-1",
            user_id=user_id,
            status=status,  # type: ignore[arg-type]
            channel=channel,  # type: ignore[arg-type]
            occurred_at="2026-03-01T09:00:00Z",
        )
    )
