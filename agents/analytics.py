"""The analytics role: writes lifecycle events to ClickHouse, and serves the embedded one to the others."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from clickhouse_connect.driver import AsyncClient
from prometheus_client import REGISTRY, CollectorRegistry

from app.config import Settings
from app.store.clickhouse import EMBEDDED, connect
from app.store.config_follower import ConfigFollower
from app.store.erased import follow_erased
from app.store.lifecycle_sink import GROUP, LifecycleSink, SinkMetrics
from app.store.migrations import Kept, migrate
from app.store.publisher import KafkaPublisher
from app.store.redacting import Redactor
from app.store.settling import Settler
from app.store.targets import TargetWriter
from app.streaming.poison import FOLLOWING, PoisonGuard


async def run_analytics(
    settings: Settings,
    stop: asyncio.Event,
    ready: Callable[[], None],
    registry: CollectorRegistry = REGISTRY,
) -> None:
    """Until ``stop``. Raises KafkaError when no broker can be reached, RuntimeError when another process has the
    chDB folder."""

    async def connected() -> AsyncClient:
        client = await connect(settings, database=None)
        await migrate(client, Kept.of(settings.clickhouse), settings.data.erasure)
        return client

    async with AsyncExitStack() as closing:
        guard = PoisonGuard()
        guard.open(settings.data_folder("analytics") / FOLLOWING)
        users, following = follow_erased(settings.kafka.client_options(), guard)
        closing.push_async_callback(following.close)
        await following.start()
        if settings.clickhouse.url.startswith(EMBEDDED):
            from app.store.embedded import embedded_clickhouse  # a server has no use for its 250 MB

            await closing.enter_async_context(
                embedded_clickhouse(Path(settings.clickhouse.url.removeprefix(EMBEDDED)), settings.data.dir)
            )
        publisher = KafkaPublisher(settings.kafka.client_options(), client_id=GROUP)
        await publisher.start()
        closing.push_async_callback(publisher.close)
        redactor = Redactor(
            users,
            connected,
            publisher,
            instance=settings.instance,
            settle_s=settings.data.erasure.gather.total_seconds(),
            now_ms=_now_ms,
        )
        sink = LifecycleSink(
            settings.kafka.client_options(),
            connected,
            publisher,
            SinkMetrics(registry),
            instance=settings.instance,
            now_ms=_now_ms,
            hides=users.hides,
            guard=guard,
        )
        targets = TargetWriter(connected)
        config = ConfigFollower(settings.kafka.client_options(), targets.take_over, settings.bounds)
        closing.push_async_callback(config.close)
        await config.start()
        targets.take_over(config.catalog)
        closing.push_async_callback(_cancelled, asyncio.create_task(targets.run()))
        settler = Settler(connected, Kept.of(settings.clickhouse), _now_ms, sink.is_first)
        closing.push_async_callback(_cancelled, asyncio.create_task(settler.run(stop)))
        redacting = asyncio.create_task(redactor.run(stop))
        closing.push_async_callback(_cancelled, redacting)
        await sink.run(stop, ready)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
