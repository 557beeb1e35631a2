"""``tocsin audit`` takes as much memory for ten times as much."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from app.config import Kafka
from app.dev.broker import Broker
from app.domain.ids import event_id
from app.store import topics as declared_topics
from schemas.instants import rfc3339
from schemas.topics import EVENTS, LIFECYCLE
from tests.conftest import broker_options

_FEW, _MANY = 8_000, 80_000
#: Buffers of RocksDB, and of the client, that few don't fill yet.
_BUFFERS_MB = 40
_T0 = 1_795_168_800_000

_PEAK = (
    "import resource, runpy, sys; sys.argv = ['tocsin', *sys.argv[1:]]\n"
    "try: runpy.run_module('app.cli', run_name='__main__')\n"
    "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)"
)


async def fill(bootstrap: str, start: int, end: int) -> None:
    """Requests, and what the router and a channel would have told of each."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, max_batch_size=1 << 18) as producer:
        for n in range(start, end):
            user, name = f"user-{n % 5000}", f"00000000-0000-4000-8000-{n:012d}"
            asked = {"user_id": user, "notification_id": name, "data": {"pad": "x" * 150}}
            request = {"event_type": "order.shipped", **asked}
            await producer.send(EVENTS, json.dumps(request).encode(), user.encode(), partition=0, timestamp_ms=_T0 + n)
            told = {"notification_id": name, "user_id": user, "occurred_at": rfc3339(_T0 + n)}
            accepted = event_id(f"{name}\n{user}\n", "accepted", None, f"{EVENTS}:0:{n}")
            ended = {"channel": "push", "status": "suppressed", "reason": "no_address"}
            for event in ({"event_id": accepted, "status": "accepted"}, {"event_id": f"end of {n}", **ended}):
                value = json.dumps({**told, **event, "detail": {"trail": [["address", False]] * 5}}).encode()
                await producer.send(LIFECYCLE, value, user.encode(), partition=0, timestamp_ms=_T0 + n)
        await producer.flush()


async def handled(bootstrap: str, requests: int) -> None:
    """The router's group has committed so many."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id="tocsin_router", enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(EVENTS, 0)])
    await consumer.commit({TopicPartition(EVENTS, 0): requests})
    await consumer.stop()


async def audited(bootstrap: str, folder: Path) -> tuple[dict[str, int], int]:
    """What was covered, and the peak of the process's memory in MB."""
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")},
        "TOCSIN_KAFKA__BOOTSTRAP": bootstrap,
        "TOCSIN_KAFKA__PARTITIONS": "1",
        "TOCSIN_DATA__DIR": str(folder),
    }
    command = [sys.executable, "-c", _PEAK, "audit", "--only", "balance", "--json"]
    done = await asyncio.to_thread(subprocess.run, command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    [check] = json.loads(done.stdout)["checks"]
    return check["covered"], int(done.stderr.split()[-1])


@pytest.fixture
async def bootstrap(tmp_path: Path) -> AsyncIterator[str]:
    broker = Broker(broker_options(tmp_path))
    await broker.start()
    yield broker.bootstrap
    await broker.stop()


async def test_ten_times_as_much_takes_as_much_memory(bootstrap: str, tmp_path: Path) -> None:
    await declared_topics.apply(Kafka(bootstrap=bootstrap, partitions=1), {})
    await fill(bootstrap, 0, _FEW)
    await handled(bootstrap, _FEW)
    few, few_mb = await audited(bootstrap, tmp_path / "data")
    await fill(bootstrap, _FEW, _MANY)
    await handled(bootstrap, _MANY)
    many, many_mb = await audited(bootstrap, tmp_path / "data")
    print(f"{few_mb} MB for {few['events']} events, {many_mb} MB for {many['events']}")

    assert (few["recipients"], many["recipients"]) == (_FEW, _MANY)
    assert many_mb - few_mb < _BUFFERS_MB
