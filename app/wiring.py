"""The composition root: the only place where real clients are built, started and closed."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from app.config import Settings, installation_secret, suppression_keys
from app.config.secret import FILE as SECRET_FILE
from app.domain.catalog import Catalog
from app.domain.outcome import OUTCOME_KINDS
from app.private import narrow
from app.watchdog import END_WITHIN_S, Watchdog
from schemas.topics import (
    BATCHES,
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
    journal_topic,
)
from schemas.words import CHANNELS, Channel, Provider

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from agents.outbox import Relaying
    from agents.router.machine import RouterMachine
    from agents.sender.shed import Shedding
    from app.metrics import DoubtMetrics, SheddingMetrics
    from app.ports import CallExecutor
    from app.providers.limits import Limits
    from app.providers.states import WorkerProviders
    from app.store.provider_states import Pauses
    from app.store.rights import Access
    from app.streaming.poison import PoisonGuard
    from app.streaming.worker import RoleWorker
    from app.tracing import SpanExporter

log = structlog.get_logger(__name__)

SENDING: tuple[Channel, ...] = ("push", "email", "sms")
#: The roles that keep tables, and so run on Faust.
KEEPING = ("router", *CHANNELS)
ROLES = (*KEEPING, "analytics", "hooks")
#: The roles whose batches are recorded: what they decide follows from the log alone.
DECIDING = ("router",)

#: Calls in preparation at most, and how many of them are kept for critical sends. A call has to begin while its last
#: look is fresh, so the client's own CPU bounds them: preparing a call costs aiobotocore some 5 ms, the APNs client
#: 0.3 ms. Those that wait for an answer are bounded by their provider's ``concurrency``.
IN_PREPARATION: Mapping[Channel, tuple[int, int]] = {"push": (200, 40), "email": (24, 4), "sms": (32, 8)}


class WorkerFailed(Exception):
    """The role stopped by an error; whoever watches over it starts it again."""


def internal_tables() -> dict[str, Sequence[str]]:
    """The tables of every role, for the declaration of their changelogs."""
    from agents.inbox.machine import InAppMachine
    from agents.router.machine import RouterMachine
    from agents.sender.machine import SenderMachine

    sending: dict[str, Sequence[str]] = dict.fromkeys(SENDING, SenderMachine.tables)
    return {"router": RouterMachine.tables, "in_app": InAppMachine.tables, **sending}


def kafka_accesses() -> dict[str, "Access"]:
    """What every process does in Kafka, by its principal."""
    from agents.inbox.machine import InAppMachine
    from agents.router.machine import RouterMachine
    from agents.sender.machine import SenderMachine
    from agents.shared.subscriptions import sender_subscriptions
    from app.store.rights import (
        ANALYTICS,
        CLI,
        COMMAND_LINE,
        GATEWAY,
        HOOK_CALLER,
        PRODUCER,
        SERVICES,
        auditing,
        keeping,
    )

    reads = {"router": RouterMachine.subscriptions, "in_app": InAppMachine.subscriptions}
    reads |= {channel: sender_subscriptions(channel) for channel in SENDING}
    writes = {"router": RouterMachine.outputs, "in_app": InAppMachine.outputs}
    writes |= dict.fromkeys(SENDING, (*SenderMachine.outputs, PROVIDERS))
    followed: dict[str, Sequence[str]] = dict.fromkeys(SENDING, (PROVIDERS,))
    writes |= {role: (*writes[role], BATCHES) for role in DECIDING}
    return {
        PRODUCER: SERVICES,
        "tocsin-gateway": GATEWAY,
        "tocsin-analytics": ANALYTICS,
        "tocsin-hooks": HOOK_CALLER,
        CLI: auditing(COMMAND_LINE, internal_tables()),
        **{
            f"tocsin-{role}": keeping(
                role, tables, [*(intake.topic for intake in reads[role]), *followed.get(role, ())], writes[role]
            )
            for role, tables in internal_tables().items()
        },
    }


def run_gateway(settings: Settings, environ: Mapping[str, str]) -> None:
    """Serves HTTP until SIGTERM or SIGINT. ``environ``: where the settings came from."""
    _keep_data_private("gateway", settings)
    _run(lambda stop, _: _gateway(settings, environ, stop))


def run_worker(role: str, settings: Settings) -> None:
    """Runs a role until SIGTERM or SIGINT. Raises WorkerFailed where it stops by itself, ValueError for no role."""
    if role not in ROLES:
        raise ValueError(f"there is no role {role}; there are {', '.join(ROLES)}")
    _keep_data_private(role, settings)
    if role == "analytics":
        _run(lambda stop, _: _analytics(settings, stop))
    elif role == "hooks":
        _run(lambda stop, _: _hooks(settings, stop))
    else:
        _run(lambda stop, watchdog: _keeping(role, settings, stop, watchdog))


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
            ready = await _operations(stack, "outbox", settings, registry)
            if not await _log_is_ready(settings, EVENT_TOPICS, stop):
                return
            publisher = KafkaPublisher(settings.kafka.client_options(), client_id=f"tocsin-outbox-{settings.instance}")
            stack.push_async_callback(publisher.close)
            await publisher.start()

            async def opened() -> Outbox:
                return await Outbox.open(dsn, table)

            relaying = Relay(opened, publisher, how, OutboxMetrics(registry), unix_ms)
            done.append(relaying)
            await relaying.run(stop, ready)

    _keep_data_private("outbox", settings)
    _run(relay)
    return (done[0].relayed, done[0].refused) if done else (0, 0)


def _keep_data_private(role: str, settings: Settings) -> None:
    """The role's own folder, what all roles share in ``data.dir``, and the database if it is embedded here."""
    from app.store.clickhouse import EMBEDDED

    url, data = settings.clickhouse.url, settings.data.dir
    database = [Path(url.removeprefix(EMBEDDED))] if role == "analytics" and url.startswith(EMBEDDED) else []
    narrow(settings.data_folder(role), *database, alone=[data, data / SECRET_FILE])


def _run(main: Callable[[asyncio.Event, Watchdog], Awaitable[None]], end_within_s: float = END_WITHIN_S) -> None:
    """The end begins with a signal or where ``main`` says so, with its own at the latest."""
    import uvloop

    # Before Faust is imported: its threads take their loops from the policy.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

    async def until_told() -> None:
        stop, watchdog = asyncio.Event(), Watchdog(end_within_s)
        beating = asyncio.create_task(watchdog.beat())

        def told() -> None:
            watchdog.arm()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told)
        try:
            await main(stop, watchdog)
        finally:
            watchdog.arm()
            beating.cancel()

    asyncio.run(until_told())


# --- roles without tables ---


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
        ready = await _operations(stack, "gateway", settings, registry)
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
        if not await _log_is_ready(settings, needed, stop):
            return
        spans = _span_exporter(stack, "gateway", settings, registry, unix_ms)
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
        ready = await _operations(stack, "analytics", settings, registry)
        if not await _log_is_ready(settings, (LIFECYCLE, DEAD, ERASURES, CONFIG), stop):
            return
        await run_analytics(settings, stop, ready, registry)


async def _hooks(settings: Settings, stop: asyncio.Event) -> None:
    from agents.hooks.role import run_hooks
    from app.metrics import process_registry
    from app.streaming.clocks import unix_ms

    async with AsyncExitStack() as stack:
        registry = process_registry()
        ready = await _operations(stack, "hooks", settings, registry)
        if not await _log_is_ready(settings, (LIFECYCLE, ERASURES, HOOKS, HOOK_POSITIONS), stop):
            return
        await run_hooks(settings, stop, ready, registry, unix_ms)


async def _log_is_ready(settings: Settings, topics: Sequence[str], stop: asyncio.Event) -> bool:
    """Waits for Kafka and these topics; False when told to stop before."""
    from app.store.log_ready import until_ready

    waiting = asyncio.create_task(until_ready(settings.kafka.client_options(), topics))
    told = asyncio.create_task(stop.wait())
    done, pending = await asyncio.wait((waiting, told), return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    if waiting in done:
        waiting.result()
    return waiting in done


def _span_exporter(
    stack: AsyncExitStack, role: str, settings: Settings, registry: "CollectorRegistry", clock: Callable[[], int]
) -> "SpanExporter | None":
    """None where traces are off: then nothing of OpenTelemetry is imported."""
    tracing = settings.tracing
    if tracing.endpoint is None:
        return None
    from app.metrics import SpanMetrics
    from app.tracing import DROP_REASONS, SpanExporter

    headers = {name: value.get_secret_value() for name, value in tracing.headers.items()}
    service = {
        "service.name": f"tocsin-{role}",
        "service.namespace": "tocsin",
        "service.instance.id": settings.instance,
    }
    exporter = SpanExporter.open(tracing.endpoint, headers, service, SpanMetrics(registry, DROP_REASONS), clock)
    stack.push_async_callback(exporter.close)
    return exporter


async def _operations(
    stack: AsyncExitStack, role: str, settings: Settings, registry: "CollectorRegistry"
) -> Callable[[], None]:
    """Opens the operations port; what it returns is called when the role is ready."""
    from app.operations import OperationsServer

    is_ready = asyncio.Event()
    server = OperationsServer(role=role, problem=lambda: None if is_ready.is_set() else "starting", registry=registry)
    await server.start(settings.operations, settings.data_folder(role))
    stack.push_async_callback(server.stop)
    return is_ready.set


# --- roles with tables ---


@dataclass(frozen=True, slots=True)
class _Watched:
    """What of a channel's backlog is given up, where that is counted, and where its doubts are."""

    shedding: "Shedding"
    metrics: "SheddingMetrics"
    doubts: "DoubtMetrics"


@dataclass(frozen=True, slots=True)
class _Built:
    """A role's machine, what carries out its calls and how fast, and what is given up when that isn't fast enough."""

    machine: Any
    executor: "CallExecutor[Any, Any] | None" = None
    limits: "Limits | None" = None
    watched: "_Watched | None" = None
    providers: "WorkerProviders | None" = None

    def take_over(self, catalog: Catalog) -> None:
        """A batch is decided without a pause, so this always falls between two of them."""
        self.machine.catalog = catalog
        if self.limits is not None:
            self.limits.take_over(catalog.policy.providers[self.machine.role].limits)

    def pause(self, pauses: "Pauses") -> None:
        """From the next decision on, and no call begins whose claim is on its way."""
        if self.providers is not None:
            self.machine.pauses = pauses
            self.providers.take_over(pauses)

    def own(self, partitions: int) -> None:
        if self.limits is not None:
            self.limits.own(partitions)


def router_machine(settings: Settings, catalog: Catalog) -> "RouterMachine":
    """The router's decisions, as every process with these settings makes them."""
    from agents.router.machine import RouterMachine

    return RouterMachine(
        catalog,
        partitions=settings.kafka.partitions,
        providers=providers_by_channel(settings),
        secret=installation_secret(settings),
        former_secrets=suppression_keys(settings).former,
    )


async def _build(
    role: str,
    settings: Settings,
    catalog: Catalog,
    clock: Callable[[], int],
    registry: "CollectorRegistry",
    stack: AsyncExitStack,
) -> _Built:
    if role == "router":
        return _Built(router_machine(settings, catalog))
    if role == "in_app":
        from agents.inbox.machine import InAppMachine

        keys, partitions = suppression_keys(settings), settings.kafka.partitions
        return _Built(InAppMachine(catalog, partitions=partitions, keys=keys, links=settings.links))
    return await _build_sender(next(c for c in SENDING if c == role), settings, catalog, clock, registry, stack)


async def _build_sender(
    channel: Channel,
    settings: Settings,
    catalog: Catalog,
    clock: Callable[[], int],
    registry: "CollectorRegistry",
    stack: AsyncExitStack,
) -> _Built:
    from agents.executor import GatedExecutor
    from agents.sender.context import ChannelConfig
    from agents.sender.doubts import HOWS
    from agents.sender.machine import SenderMachine
    from agents.sender.shed import Shedding
    from app.metrics import BreakerStates, CallMetrics, DoubtMetrics, ProviderErrors, SheddingMetrics
    from app.providers.breaker import CAUSES
    from app.providers.limits import Limits
    from app.providers.registry import clients_for
    from app.providers.states import PAUSED, WorkerProviders
    from app.streaming.clocks import unix_ms

    clients = clients_for(channel, settings, _breaker_changed)
    for gated in clients.values():
        await gated.client.start()
        stack.push_async_callback(gated.client.close)
    sections = settings.providers.configured()
    timeouts_ms = {provider: int(sections[provider].timeout * 1000) for provider in clients}
    limit, reserved = IN_PREPARATION[channel]
    metrics = SheddingMetrics(registry, channel)
    shedding = Shedding(_shedding_changed, metrics.shed)
    doubts = DoubtMetrics(registry, clients, HOWS, clock)
    on_call = CallMetrics(registry, clients, OUTCOME_KINDS).ended
    on_error = ProviderErrors(registry, channel).count
    gates = [gated.gate for gated in clients.values()]
    providers = WorkerProviders(channel, settings.instance, gates, unix_ms, _pause_changed)
    BreakerStates(registry, providers.why_not_called, (*CAUSES, PAUSED))
    executor = GatedExecutor(clients, limit=limit, reserved=reserved, clock=clock, on_call=on_call, on_error=on_error)
    channel_config = ChannelConfig(
        channel,
        timeouts_ms,
        public_url=_public_url(settings),
        links=settings.links,
        postal_address=settings.branding.postal_address,
        shedding=shedding,
        partitions=settings.kafka.partitions,
        slots=executor,
        on_settled=doubts.settled,
        keys=suppression_keys(settings),
    )
    return _Built(
        SenderMachine(catalog, channel_config),
        executor,
        Limits(gates, settings.kafka.partitions),
        _Watched(shedding, metrics, doubts),
        providers,
    )


def _public_url(settings: Settings) -> str:
    return settings.gateway.public_url or f"http://{settings.gateway.host}:{settings.gateway.port}"


def providers_by_channel(settings: Settings) -> dict[Channel, frozenset[Provider]]:
    """The providers of each channel that have settings and a client; the inbox is always there."""
    from app.providers.registry import CLIENTS

    configured = settings.providers.configured()
    sending = {
        channel: frozenset(p for p, (its, _, _) in CLIENTS.items() if its == channel and p in configured)
        for channel in SENDING
    }
    return {**sending, "in_app": frozenset(("inbox",))}


def _breaker_changed(provider: str, why: str | None) -> None:
    log.warning("breaker changed", provider=provider, open=why is not None, why=why)


def _pause_changed(provider: str, why: str | None) -> None:
    log.warning("provider paused" if why is not None else "provider resumed", provider=provider, why=why)


def _shedding_changed(provider: str, backlog: int, limit: int, begins: bool) -> None:
    said = "low sends are given up" if begins else "low sends are no longer given up"
    log.warning(said, provider=provider, backlog=backlog, limit=limit)


async def _keeping(role: str, settings: Settings, stop: asyncio.Event, watchdog: Watchdog) -> None:
    """Follows the configuration, joins the role's group, serves reads and announces what it owns."""
    from app.metrics import StreamingMetrics, WaitingRecords, WorkerHealth, process_registry
    from app.operations import OperationsServer, ServedState
    from app.store.config_follower import ConfigFollower
    from app.streaming import clocks, failpoints
    from app.streaming.poison import FOLLOWING, PoisonGuard
    from app.streaming.worker import RoleWorker

    failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
    clock = clocks.of(os.environ)
    secret = installation_secret(settings)
    options = settings.kafka.client_options()
    changed = asyncio.Event()
    if not await _log_is_ready(settings, (COMMANDS, CONFIG, OWNERS, PROVIDERS, journal_topic(role)), stop):
        return
    async with _closing(watchdog) as stack:
        running: list[_Built] = []
        guard = PoisonGuard()
        guard.open(settings.data_folder(role) / FOLLOWING)
        config = ConfigFollower(options, lambda catalog: _take_over(running, catalog, changed), settings.bounds, guard)
        await config.start()
        stack.push_async_callback(config.close)
        registry = process_registry()
        built = await _build(role, settings, config.catalog, clock, registry, stack)
        running.append(built)
        _take_over(running, config.catalog, changed)  # it may be another one by now
        if built.providers is not None:
            await _follow_pauses(stack, options, secret, built, guard)
        metrics = StreamingMetrics(registry, role, [i.topic for i in built.machine.subscriptions if i.owned])
        spans = _span_exporter(stack, role, settings, registry, clock)

        def owned(partitions: frozenset[int]) -> None:
            metrics.owned.set(len(partitions))
            built.own(len(partitions))
            changed.set()

        worker = RoleWorker(
            built.machine,
            client_options=options,
            folder=settings.data_folder(role),
            instance=settings.instance,
            partitions=settings.kafka.partitions,
            executor=built.executor,
            clock=clock,
            counted=metrics.count,
            on_dead=metrics.dead,
            on_durable=metrics.durable,
            on_spans=spans.show if spans is not None else lambda _: None,
            on_owned=owned,
            standby=settings.data.standby,
            erasure=settings.data.erasure,
            catalog_mark=(lambda: built.machine.catalog.mark) if role in DECIDING else None,
        )
        registry.register(WaitingRecords(role, worker.waiting))
        registry.register(
            WorkerHealth(
                role,
                worker.behind,
                worker.lag_seconds,
                lambda: worker.still,
                lambda: worker.loop_lag_s,
                worker.overdue_seconds,
            )
        )
        state = ServedState(worker, secret, clocks.unix_ms)
        server = OperationsServer(role=role, problem=worker.problem, registry=registry, state=state)
        await server.start(settings.operations, settings.data_folder(role))
        stack.push_async_callback(server.stop)
        _collect_seldom()
        await worker.start()
        stack.push_async_callback(worker.stop)
        if built.watched is not None:
            _watch_backlog(stack, built, worker, settings.kafka.partitions)
        if built.providers is not None:
            await _report_providers(stack, settings, built.providers, secret)
        await _announce(stack, settings, worker, server.url, changed, secret)
        await _until(stop, worker.crashed)


@asynccontextmanager
async def _closing(watchdog: Watchdog) -> AsyncIterator[AsyncExitStack]:
    """What the stack closes at the end may hang: the watchdog is armed before."""
    async with AsyncExitStack() as stack:
        try:
            yield stack
        finally:
            watchdog.arm()


async def _follow_pauses(
    stack: AsyncExitStack, options: Mapping[str, Any], secret: bytes, built: _Built, guard: "PoisonGuard"
) -> None:
    """Nothing is called before what is paused is known."""
    from app.store.provider_states import ProvidersFollower
    from app.streaming.clocks import unix_ms

    states = ProvidersFollower(options, secret, unix_ms, on_pauses=built.pause, guard=guard)
    await states.start()
    stack.push_async_callback(states.close)
    built.pause(states.pauses)


async def _report_providers(
    stack: AsyncExitStack, settings: Settings, providers: "WorkerProviders", secret: bytes
) -> None:
    """Tells everybody, from now on, how this worker sees its providers."""
    from agents.monitors import watch_providers
    from app.store.announced import keep_announcing
    from app.store.publisher import KafkaPublisher
    from app.streaming.clocks import unix_ms

    channel, changed = providers.channel, asyncio.Event()
    publisher = KafkaPublisher(
        settings.kafka.client_options(), client_id=f"tocsin-{channel}-{settings.instance}-providers"
    )
    await publisher.start()
    stack.push_async_callback(publisher.close)
    telling = keep_announcing(publisher, PROVIDERS, providers.report, changed, secret, unix_ms)
    for task in (telling, watch_providers(providers, changed)):
        stack.push_async_callback(_cancelled, asyncio.create_task(task))


def _watch_backlog(stack: AsyncExitStack, built: _Built, worker: "RoleWorker", partitions: int) -> None:
    from agents.monitors import watch_backlog, watch_doubts

    machine: Any = worker.machine
    watched, seen = built.watched, built.providers
    assert watched is not None
    assert seen is not None
    providers = tuple(machine.channel_config.timeouts_ms)

    def shown(provider: Provider, count: int) -> None:
        watched.metrics.backlog(provider, count)
        seen.note_waiting(provider, count)

    shedding = watch_backlog(watched.shedding, worker, lambda: machine.catalog.policy, providers, partitions, shown)
    for watching in (shedding, watch_doubts(worker, providers, watched.doubts.show)):
        stack.push_async_callback(_cancelled, asyncio.create_task(watching))


def _take_over(running: Sequence[_Built], catalog: Catalog, changed: asyncio.Event) -> None:
    for built in running:
        built.take_over(catalog)
    changed.set()


def _collect_seldom() -> None:
    """What was imported stays, and what batches make is hardly ever in a cycle: Python's collector would look at all of
    it again and again, which took a sixth of the router's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _announce(
    stack: AsyncExitStack,
    settings: Settings,
    worker: "RoleWorker",
    url: str,
    changed: asyncio.Event,
    secret: bytes,
) -> None:
    """Tells the gateways, from now on, which partitions are read here and which policy is in force. By the machine's
    own clock, which theirs agrees with."""
    from app.store.owners import Owner, announce
    from app.store.publisher import KafkaPublisher
    from app.streaming.clocks import unix_ms

    role = worker.machine.role
    publisher = KafkaPublisher(settings.kafka.client_options(), client_id=f"tocsin-{role}-{settings.instance}-owner")
    await publisher.start()
    stack.push_async_callback(publisher.close)

    def describe(at: int) -> Owner:
        return Owner(
            role=role,
            instance=settings.instance,
            partitions=sorted(worker.owned),
            url=url,
            policy_version=worker.machine.catalog.policy_version,
            at=at,
        )

    telling = asyncio.create_task(announce(publisher, describe, changed, secret, unix_ms))
    stack.push_async_callback(_cancelled, telling)


async def _until(stop: asyncio.Event, crashed: "asyncio.Future[BaseException]") -> None:
    told = asyncio.create_task(stop.wait())
    await asyncio.wait({told, asyncio.ensure_future(crashed)}, return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]
    told.cancel()
    if crashed.done():
        raise WorkerFailed(repr(crashed.result()))


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
