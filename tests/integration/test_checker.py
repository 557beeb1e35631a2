"""The checker reads a run from real topics and a real ClickHouse, as it does after an experiment."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from clickhouse_connect.driver import AsyncClient

from app.config import ClickHouse, Data, Kafka, Settings
from app.store import topics as declared_topics
from app.store.announcement import announced_url
from app.store.clickhouse import connect
from app.store.embedded import embedded_clickhouse
from app.store.migrations import Kept, migrate
from faults.checker import BadRun, Verdict, judge
from faults.checker.__main__ import main
from faults.checker.words import LIFECYCLE
from tests.unit.faults.world import START, World, a_good_run

COLUMNS = ("event_id", "notification_id", "user_id", "status", "occurred_at", "recorded_at")
PLACE = ("topic_partition", "topic_offset")


@pytest.fixture
async def topics(kafka: str) -> str:
    """The address of a broker that has the public topics, all of them with what other tests left there."""
    await declared_topics.apply(Kafka(bootstrap=kafka), {})
    return kafka


@pytest.fixture
async def clickhouse(tmp_path: Path) -> AsyncIterator[tuple[str, AsyncClient]]:
    """Where it is, and a client that may write."""
    settings = Settings(clickhouse=ClickHouse(url=f"chdb://{tmp_path}/clickhouse"), data=Data(dir=tmp_path))
    async with (
        embedded_clickhouse(tmp_path / "clickhouse", tmp_path),
        await connect(settings, database=None) as client,
    ):
        await migrate(client, Kept.of(settings.clickhouse))
        url = announced_url(tmp_path)
        assert url is not None
        yield url, client


async def put(world: World, bootstrap: str, clickhouse: AsyncClient) -> None:
    """The run's records into the topics, and its events into ClickHouse."""
    rows: dict[str, list[object]] = {}
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for record in world.records():
            at = await producer.send_and_wait(record.topic, record.value, key=record.key, partition=0)
            if record.topic == "notify_events" and record.offset == 0:
                world.move(at.offset)  # other tests have left records there
            if record.topic == LIFECYCLE:
                event = json.loads(record.value or b"")
                where = (event["event_id"], event["notification_id"], event["user_id"], event["status"])
                rows.setdefault(event["event_id"], [*where, START, START, 0, at.offset])
    await clickhouse.insert("notify.lifecycle", list(rows.values()), column_names=(*COLUMNS, *PLACE))


def failing(verdicts: list[Verdict]) -> list[str]:
    return [each.name for each in verdicts if not each.holds]


async def test_a_run_is_judged_by_its_topics_and_clickhouse(
    topics: str, clickhouse: tuple[str, AsyncClient], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, client = clickhouse
    world = a_good_run()
    started_ms = time.time_ns() // 1_000_000  # the records are of today, though they speak of another day
    await put(world, topics, client)
    world.write(tmp_path / "run", bootstrap=topics, clickhouse_url=url, started_ms=started_ms)

    verdicts = await asyncio.to_thread(judge, tmp_path / "run")
    assert {each.name: each.examples for each in verdicts if not each.holds} == {}

    status = await asyncio.to_thread(main, [str(tmp_path / "run"), "--json", str(tmp_path / "verdicts.json")])
    said = json.loads((tmp_path / "verdicts.json").read_text())
    assert status == 0
    assert [each["verdict"] for each in said["invariants"]] == ["pass"] * len(verdicts)
    assert "a small run, seed 1" in capsys.readouterr().out

    await client.command("TRUNCATE TABLE notify.lifecycle")
    assert failing(await asyncio.to_thread(judge, tmp_path / "run")) == ["ANALYTICS"]


async def test_a_broker_that_does_not_answer_is_named(tmp_path: Path) -> None:
    a_good_run().write(tmp_path / "run", bootstrap="127.0.0.1:1")

    with pytest.raises(BadRun, match=r"bootstrap: 127.0.0.1:1 can't be read from"):
        await asyncio.to_thread(judge, tmp_path / "run")
