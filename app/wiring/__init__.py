"""The composition root: the only place where real clients are built, started and closed."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from app.config import Settings
from app.watchdog import Watchdog
from app.wiring.keeping import run_keeping
from app.wiring.process import WorkerFailed, keep_data_private, log_is_ready, operations, run, span_exporter
from app.wiring.roles import (
    DECIDING,
    KEEPING,
    ROLES,
    SENDING,
    internal_tables,
    kafka_accesses,
    providers_by_channel,
)
from schemas.topics import (
    CAMPAIGN_RECIPIENTS,
    CAMPAIGNS,
    COMMANDS,
    CONFIG,
    DEAD,
    ERASURES,
    EVENT_TOPICS,
    HOOK_POSITIONS,
    HOOKS,
    INBOX_CHANGES,
    KEYS,
    LIFECYCLE,
    OWNERS,
    PROVIDERS,
    REPLAY_OUTCOMES,
    REPLAYS,
)

if TYPE_CHECKING:
    from agents.outbox import Relaying

__all__ = [
    "DECIDING",
    "KEEPING",
    "ROLES",
    "SENDING",
    "WorkerFailed",
    "internal_tables",
    "kafka_accesses",
    "providers_by_channel",
    "run_gateway",
    "run_outbox",
    "run_worker",
]


def run_gateway(settings: Settings, environ: Mapping[str, str]) -> None:
    """Serves HTTP until SIGTERM or SIGINT. ``environ``: where the settings came from."""
    keep_data_private("gateway", settings)
    run(lambda stop, _: _gateway(settings, environ, stop))


def run_worker(role: str, settings: Settings) -> None:
    """Runs a role until SIGTERM or SIGINT. Raises WorkerFailed where it stops by itself, ValueError for no role."""
    if role not in ROLES:
        raise ValueError(f"unknown role {role}; the roles are {', '.join(ROLES)}")
    keep_data_private(role, settings)
    if role == "analytics":
        run(lambda stop, _: _analytics(settings, stop))
    elif role == "hooks":
        run(lambda stop, _: _hooks(settings, stop))
    else:
        run(lambda stop, watchdog: run_keeping(role, settings, stop, watchdog))


def run_outbox(settings: Settings, dsn: str, table: str, how: "Relaying") -> tuple[int, int]:
    """Relays a service's outbox until SIGTERM or SIGINT, or until nothing waits. Returns how many rows were relayed and
    how many refused. Raises OutboxRefused for a database or a table that can't be used, KafkaError for no broker."""
    from app.metrics import OutboxMetrics, process_registry
    from app.store.outbox import Outbox
    from app.store.publisher import KafkaPublisher
    from app.streaming.clocks import unix_ms

    done = []

    async def relay(stop: asyncio.Event, _: Watchdog) -> None:
        from agents.outbox import Relay

        async with AsyncExitStack() as stack:
            registry = process_registry()
            ready = await operations(stack, "outbox", settings, registry)
            if not await log_is_ready(settings, EVENT_TOPICS, stop):
                return
            publisher = KafkaPublisher(settings.kafka.client_options(), client_id=f"tocsin-outbox-{settings.instance}")
            stack.push_async_callback(publisher.close)
            await publisher.start()

            async def opened() -> Outbox:
                return await Outbox.open(dsn, table)

            relaying = Relay(opened, publisher, how, OutboxMetrics(registry), unix_ms)
            done.append(relaying)
            await relaying.run(stop, ready)

    keep_data_private("outbox", settings)
    run(relay)
    return (done[0].relayed, done[0].refused) if done else (0, 0)


async def _gateway(settings: Settings, environ: Mapping[str, str], stop: asyncio.Event) -> None:
    from app.api.gateway import run_gateway as serve
    from app.api.refusals import ENDINGS, Counting
    from app.api.streams import ENDS
    from app.api.webhooks import OUTCOMES as REPORTED
    from app.api.webhooks import VENDORS
    from app.metrics import (
        AnnouncementMetrics,
        HttpMetrics,
        RefusalMetrics,
        ReplayMetrics,
        StreamMetrics,
        WebhookMetrics,
        process_registry,
    )
    from app.replay.receipt import OUTCOMES
    from app.store.announced import REFUSALS
    from app.streaming.clocks import unix_ms

    async with AsyncExitStack() as stack:
        registry = process_registry()
        announcements = AnnouncementMetrics(registry, REFUSALS)
        refusals = RefusalMetrics(registry, ENDINGS)
        streams = StreamMetrics(registry, ENDS)
        ready = await operations(stack, "gateway", settings, registry)
        needed = (
            COMMANDS,
            CONFIG,
            ERASURES,
            INBOX_CHANGES,
            OWNERS,
            PROVIDERS,
            REPLAYS,
            REPLAY_OUTCOMES,
            CAMPAIGNS,
            CAMPAIGN_RECIPIENTS,
            HOOKS,
            KEYS,
        )
        if not await log_is_ready(settings, needed, stop):
            return
        spans = span_exporter(stack, "gateway", settings, registry, unix_ms)
        await serve(
            settings,
            stop,
            lambda url: ready(),
            environ,
            announcements.refused,
            Counting(
                refusals.refused,
                refusals.ended,
                HttpMetrics(registry).answered,
                WebhookMetrics(registry, VENDORS, REPORTED).reported,
                streams.open,
                streams.ended,
            ),
            ReplayMetrics(registry, OUTCOMES).count,
            None if spans is None else spans.show,
        )


async def _analytics(settings: Settings, stop: asyncio.Event) -> None:
    from agents.analytics import run_analytics
    from app.metrics import process_registry

    async with AsyncExitStack() as stack:
        registry = process_registry()
        ready = await operations(stack, "analytics", settings, registry)
        if not await log_is_ready(settings, (LIFECYCLE, DEAD, ERASURES, CONFIG), stop):
            return
        await run_analytics(settings, stop, ready, registry)


async def _hooks(settings: Settings, stop: asyncio.Event) -> None:
    from agents.hooks.role import run_hooks
    from app.metrics import process_registry
    from app.streaming.clocks import unix_ms

    async with AsyncExitStack() as stack:
        registry = process_registry()
        ready = await operations(stack, "hooks", settings, registry)
        if not await log_is_ready(settings, (LIFECYCLE, ERASURES, HOOKS, HOOK_POSITIONS), stop):
            return
        await run_hooks(settings, stop, ready, registry, unix_ms)
