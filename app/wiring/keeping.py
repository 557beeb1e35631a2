"""A role that keeps tables: its machine, what carries out its calls, and all that goes on beside them."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from app.config import Settings, installation_secret, suppression_keys
from app.domain.catalog import Catalog
from app.domain.outcome import OUTCOME_KINDS
from app.watchdog import Watchdog
from app.wiring.process import WorkerFailed, log_is_ready, span_exporter
from app.wiring.roles import DECIDING, SENDING
from schemas.topics import (
    COMMANDS,
    CONFIG,
    OWNERS,
    PROVIDERS,
    journal_topic,
)
from schemas.words import Channel, Provider

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from agents.sender.shed import Shedding
    from app.metrics import DoubtMetrics, SheddingMetrics
    from app.ports import CallExecutor
    from app.providers.limits import Limits
    from app.providers.states import WorkerProviders
    from app.store.provider_states import Pauses
    from app.streaming.poison import PoisonGuard
    from app.streaming.worker import RoleWorker

log = structlog.get_logger(__name__)

#: Calls in preparation at most, and how many of them are kept for critical sends. A call has to begin while its last
#: look is fresh, so the client's own CPU bounds them: preparing a call costs aiobotocore some 5 ms, the APNs client
#: 0.3 ms. Those that wait for an answer are bounded by their provider's ``concurrency``.
IN_PREPARATION: Mapping[Channel, tuple[int, int]] = {"push": (200, 40), "email": (24, 4), "sms": (32, 8)}


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
            self.limits.take_over(catalog.policy.providers[self.machine.role])

    def pause(self, pauses: "Pauses") -> None:
        """From the next decision on, and no call begins whose claim is on its way."""
        if self.providers is not None:
            self.machine.pauses = pauses
            self.providers.take_over(pauses)

    def own(self, partitions: int) -> None:
        if self.limits is not None:
            self.limits.own(partitions)


async def _build(
    role: str,
    settings: Settings,
    catalog: Catalog,
    clock: Callable[[], int],
    registry: "CollectorRegistry",
    stack: AsyncExitStack,
) -> _Built:
    if role in DECIDING:
        return _Built(DECIDING[role](settings, catalog))
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
    from app.domain.device_rates import DOCUMENTED, DeviceRates
    from app.metrics import BreakerStates, CallMetrics, DoubtMetrics, ProviderErrors, ProviderRates, SheddingMetrics
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
    ProviderRates(registry, providers.rates)
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
        devices=DeviceRates(DOCUMENTED),
        on_settled=doubts.settled,
        keys=suppression_keys(settings),
    )
    return _Built(
        SenderMachine(catalog, channel_config),
        executor,
        Limits(gates, settings.kafka.partitions, clock),
        _Watched(shedding, metrics, doubts),
        providers,
    )


def _public_url(settings: Settings) -> str:
    return settings.gateway.public_url or settings.gateway.url


def _breaker_changed(provider: str, why: str | None) -> None:
    log.warning("breaker changed", provider=provider, open=why is not None, why=why)


def _pause_changed(provider: str, why: str | None) -> None:
    log.warning("provider paused" if why is not None else "provider resumed", provider=provider, why=why)


def _shedding_changed(provider: str, backlog: int, limit: int, begins: bool) -> None:
    message = "low sends are given up" if begins else "low sends are no longer given up"
    log.warning(message, provider=provider, backlog=backlog, limit=limit)


async def run_keeping(role: str, settings: Settings, stop: asyncio.Event, watchdog: Watchdog) -> None:
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
    if not await log_is_ready(settings, (COMMANDS, CONFIG, OWNERS, PROVIDERS, journal_topic(role)), stop):
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
        spans = span_exporter(stack, role, settings, registry, clock)

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
    announcing = keep_announcing(publisher, PROVIDERS, providers.report, changed, secret, unix_ms)
    for task in (announcing, watch_providers(providers, changed)):
        stack.push_async_callback(_cancelled, asyncio.create_task(task))


def _watch_backlog(stack: AsyncExitStack, built: _Built, worker: "RoleWorker", partitions: int) -> None:
    from agents.monitors import watch_backlog, watch_doubts, watch_plans

    machine: Any = worker.machine
    watched, seen, limits = built.watched, built.providers, built.limits
    assert watched is not None
    assert seen is not None
    assert limits is not None
    providers = tuple(machine.channel_config.timeouts_ms)

    def shown(provider: Provider, count: int) -> None:
        watched.metrics.backlog(provider, count)
        seen.note_waiting(provider, count)

    shedding = watch_backlog(watched.shedding, worker, lambda: machine.catalog.policy, providers, partitions, shown)
    for watching in (shedding, watch_doubts(worker, providers, watched.doubts.show), watch_plans(limits.look)):
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

    announcing = asyncio.create_task(announce(publisher, describe, changed, secret, unix_ms))
    stack.push_async_callback(_cancelled, announcing)


async def _until(stop: asyncio.Event, crashed: "asyncio.Future[BaseException]") -> None:
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({stopping, asyncio.ensure_future(crashed)}, return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]
    stopping.cancel()
    if crashed.done():
        raise WorkerFailed(repr(crashed.result()))


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
