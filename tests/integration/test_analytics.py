"""The analytics role on a real broker: what it shows equals a count by hand, whatever happens to it."""

import asyncio
import json
import os
import random
import signal
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from prometheus_client import CollectorRegistry

from agents.analytics import run_analytics
from app.config import ClickHouse, Data, Kafka, Settings
from app.dev.ports import free_port
from app.store import topics as declared_topics
from app.store.chdb_front import USER, ChdbFront
from app.store.clickhouse import Unavailable
from app.store.lifecycle_sink import GROUP
from app.store.queries import Queries
from app.store.query_users import QueryUsers
from schemas import topics
from schemas.dead import DeadLetter, read_dead
from schemas.instants import rfc3339
from tests.conftest import eventually

T0 = 1_795_168_800_000

Event = dict[str, Any]


@pytest.fixture
async def bootstrap(kafka: str) -> str:
    """A broker with all topics."""
    await declared_topics.apply(Kafka(bootstrap=kafka), {})
    return kafka


@pytest.fixture
def campaign() -> str:
    """Tells this test's events from those of others on the same topic."""
    return uuid.uuid4().hex


@pytest.fixture
def settings(bootstrap: str, tmp_path: Path) -> Settings:
    return Settings(
        kafka=Kafka(bootstrap=bootstrap),
        clickhouse=ClickHouse(url=f"chdb://{tmp_path}/clickhouse"),
        data=Data(dir=tmp_path),
    )


@asynccontextmanager
async def analytics(settings: Settings, registry: CollectorRegistry | None = None) -> AsyncIterator[None]:
    """The role, in this process, from when it is ready."""
    stop, ready = asyncio.Event(), asyncio.Event()
    role = asyncio.create_task(run_analytics(settings, stop, ready.set, registry or CollectorRegistry()))
    is_ready = asyncio.create_task(ready.wait())
    await asyncio.wait((role, is_ready), timeout=180, return_when=asyncio.FIRST_COMPLETED)
    assert ready.is_set(), role
    try:
        yield
    finally:
        stop.set()
        await role


def journey(campaign: str, number: int) -> list[Event]:
    """What happens to one recipient: push to two devices after a hold, one of them opened; email mostly suppressed."""

    def event(status: str, after_ms: int, **fields: Any) -> Event:
        name = f"{campaign}-{number}-{fields.get('send_id')}-{fields.get('channel')}-{status}"
        return {
            "event_id": name,
            "notification_id": f"{campaign}-n{number}",
            "user_id": f"{campaign}-u{number}",
            "status": status,
            "campaign_id": campaign,
            "priority": "high",
            "occurred_at": rfc3339(T0 + number * 1000 + after_ms),
            **fields,
        }

    events = [event("accepted", 0), event("held", 1, channel="push", reason="quiet_hours")]
    for device in ("phone", "tablet"):
        push = {"channel": "push", "send_id": f"{number}-{device}", "provider": "apns"}
        events += [event("queued", 50, **push), event("sending", 60, **push, attempt=1), event("sent", 100, **push)]
    events.append(event("opened", 900, channel="push", send_id=f"{number}-phone", provider="apns"))
    if number % 3:
        events.append(event("suppressed", 2, channel="email", reason="rate_cap", detail={"cap": "user-day"}))
    else:
        mail = {"channel": "email", "send_id": f"{number}-mail", "provider": "ses"}
        events += [event("queued", 3, **mail), event("sent", 30, **mail)]
    return events


def twice(events: Iterable[Event], chance: random.Random) -> Iterator[Event]:
    """Every event, and a fifth of them again some time later, byte for byte."""
    again: list[Event] = []
    for event in events:
        yield event
        if chance.random() < 0.2:
            again.append(event)
        if again and chance.random() < 0.1:
            yield again.pop(chance.randrange(len(again)))
    yield from again


async def produce(bootstrap: str, events: Iterable[Event]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        sent = [
            await producer.send(
                topics.LIFECYCLE, json.dumps(event).encode(), event["user_id"].encode(), timestamp_ms=T0 + 86_400_000
            )
            for event in events
        ]
        await asyncio.gather(*sent)


async def rows(queries: Queries, sql: str) -> list[list[Any]]:
    """Nothing while the role isn't there."""
    try:
        return (await queries.run(sql)).rows
    except Unavailable:
        return []


async def counted(queries: Queries, campaign: str) -> int:
    """Distinct events of the campaign that have arrived."""
    found = await rows(queries, f"SELECT uniqExact(event_id) FROM lifecycle WHERE campaign_id = '{campaign}'")
    return int(found[0][0]) if found else 0


async def assert_views_equal_a_count_by_hand(queries: Queries, campaign: str, events: list[Event]) -> None:
    async def view(name: str, columns: str) -> list[list[Any]]:
        sql = f"SELECT {columns} FROM {name} WHERE campaign_id = '{campaign}' GROUP BY ALL ORDER BY ALL"
        return await rows(queries, sql)

    by_hand = Counter((each.get("channel") or "", each["status"], each.get("reason") or "") for each in events)
    shown = await view("delivery_hourly", "ifNull(channel, ''), status, ifNull(reason, ''), sum(count)")
    assert shown == [[*key, count] for key, count in sorted(by_hand.items())]

    recipients = len({each["user_id"] for each in events})
    mails = len({each["send_id"] for each in events if each.get("channel") == "email" and each.get("send_id")})
    shown = await view("notifications", "channel, status, count(), countIf(opened_at IS NOT NULL)")
    assert shown == [
        ["email", "sent", mails, 0],
        ["email", "suppressed", recipients - mails, 0],
        ["push", "sent", 2 * recipients, recipients],
    ]
    shown = await view("engagement", "channel, sum(sent), sum(delivered), sum(opened)")
    assert shown == [["email", mails, 0, 0], ["push", 2 * recipients, recipients, recipients]]


async def test_views_equal_a_count_by_hand_of_what_was_produced(settings: Settings, campaign: str) -> None:
    events = [event for number in range(300) for event in journey(campaign, number)]
    queries = Queries(settings)
    async with analytics(settings):
        await produce(settings.kafka.bootstrap, twice(events, random.Random(1)))
        await eventually(lambda: _is(counted(queries, campaign), len(events)))

        await assert_views_equal_a_count_by_hand(queries, campaign, events)
        latency = await rows(
            queries, "SELECT channel, provider, priority, p50_ms, p99_ms, delivered_p50_ms FROM latency_hourly"
        )
        decisions = await rows(
            queries, "SELECT channel, reason, cap, sum(count) FROM decisions GROUP BY ALL ORDER BY ALL"
        )
    await queries.close()

    assert sorted(latency) == [["email", "ses", "high", 30, 30, None], ["push", "apns", "high", 100, 100, 800]]
    assert decisions == [["email", "rate_cap", "user-day", 200], ["push", "quiet_hours", None, 300]]


async def test_an_unreadable_record_becomes_a_dead_letter_and_its_neighbours_arrive(
    settings: Settings, campaign: str
) -> None:
    before, after = journey(campaign, 1), journey(campaign, 2)
    bad = {**before[0], "event_id": "bad", "status": "vanished"}
    queries = Queries(settings)
    async with analytics(settings):
        await produce(settings.kafka.bootstrap, [*before, bad, *after])
        await eventually(lambda: _is(counted(queries, campaign), len(before) + len(after)))
        letter = await asyncio.wait_for(dead_letter(settings.kafka.bootstrap, campaign), 60)
    await queries.close()

    assert (letter.topic, letter.field, letter.role) == (topics.LIFECYCLE, "status", "analytics")
    assert "vanished" in letter.reason


async def test_while_clickhouse_is_away_nothing_is_committed_and_nothing_is_missing_later(
    settings: Settings, campaign: str, tmp_path: Path
) -> None:
    port, registry = free_port(), CollectorRegistry()
    url = f"clickhouse://{USER}:secret@127.0.0.1:{port}/notify"
    settings = settings.model_copy(update={"clickhouse": ClickHouse(url=url)})
    events = [event for number in range(50) for event in journey(campaign, number)]
    queries = Queries(settings)

    async def tried_in_vain() -> bool:
        return (registry.get_sample_value("tocsin_analytics_retries_total") or 0) >= 2

    async with AsyncExitStack() as running:
        async with clickhouse(tmp_path / "server", port):
            await running.enter_async_context(analytics(settings, registry))
            await eventually(lambda: _is(lag(settings), 0))
            committed = await committed_offsets(settings)
        await produce(settings.kafka.bootstrap, events)
        await eventually(tried_in_vain)
        assert await committed_offsets(settings) == committed
        async with clickhouse(tmp_path / "server", port):
            await eventually(lambda: _is(counted(queries, campaign), len(events)))
            await eventually(lambda: _is(lag(settings), 0))
            await assert_views_equal_a_count_by_hand(queries, campaign, events)
            await running.aclose()
    await queries.close()


async def test_a_sink_killed_in_the_middle_of_inserts_loses_and_doubles_nothing(
    settings: Settings, campaign: str
) -> None:
    events = [event for number in range(2_000) for event in journey(campaign, number)]
    queries = Queries(settings)
    producing = asyncio.create_task(produce(settings.kafka.bootstrap, twice(events, random.Random(2))))
    for part in (1, 2):
        async with worker(settings) as process:
            count = part * len(events) // 4
            await eventually(partial(_counts_above, queries, campaign, count))
            process.kill()
        assert await process.wait() == -signal.SIGKILL
    await producing
    async with worker(settings):
        await eventually(lambda: _is(counted(queries, campaign), len(events)))
        await eventually(lambda: _is(lag(settings), 0))
        await assert_views_equal_a_count_by_hand(queries, campaign, events)
    await queries.close()


@asynccontextmanager
async def worker(settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """``tocsin worker analytics`` as its own process; told to stop at the end if it still runs."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")},
        "TOCSIN_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "TOCSIN_CLICKHOUSE__URL": settings.clickhouse.url,
        "TOCSIN_DATA__DIR": str(settings.data.dir),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", "worker", "analytics", env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def clickhouse(folder: Path, port: int) -> AsyncIterator[None]:
    """A server that comes and goes at one address."""
    front = ChdbFront(folder, "secret", "readers-secret", QueryUsers(folder))
    runner = web.AppRunner(front.app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()
        front.close()


async def committed_offsets(settings: Settings) -> dict[TopicPartition, int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap)
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(GROUP)
    finally:
        await admin.close()
    return {partition: meta.offset for partition, meta in found.items()}


async def lag(settings: Settings) -> int:
    """Records that the group has yet to read."""
    async with AIOKafkaConsumer(topics.LIFECYCLE, bootstrap_servers=settings.kafka.bootstrap) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
    committed = await committed_offsets(settings)
    return sum(end - committed.get(partition, 0) for partition, end in ends.items())


async def dead_letter(bootstrap: str, campaign: str) -> DeadLetter:
    """The first dead letter of a user of the campaign."""
    async with AIOKafkaConsumer(topics.DEAD, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        async for record in consumer:
            if record.key and record.key.startswith(campaign.encode()):
                return read_dead(record.value or b"")
    raise AssertionError("the consumer has ended")


async def _is(found: Awaitable[int], wanted: int) -> bool:
    return await found == wanted


async def _counts_above(queries: Queries, campaign: str, wanted: int) -> bool:
    return await counted(queries, campaign) > wanted
