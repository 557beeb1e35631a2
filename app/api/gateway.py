"""The gateway's process: everything that the API needs, started, served and closed in order."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import structlog
from aiohttp import web

from app.api.call import Deps
from app.api.callers import Callers, MadeKeys, SharedSecret, SigningKeys, Uses
from app.api.code_limits import CodeLimits, Codes
from app.api.connections import ConnectionLimits, Connections, connection_factory
from app.api.console.comparing import Comparing
from app.api.console.sessions import Sessions
from app.api.jwks import PublishedKeys
from app.api.key_follower import KeyFollower
from app.api.limits import Limits
from app.api.live import Live
from app.api.pages import Pages
from app.api.refusals import UNCOUNTED, Counting
from app.api.reporter import Reporter
from app.api.room import Room
from app.api.server import create_app
from app.api.streams import Streams
from app.api.tickets import CLAIMS_MS, Tickets
from app.api.tracing import Tracing
from app.campaigns.service import Campaigns
from app.config import CONFIG_VARIABLE, Auth, Gateway, Settings, installation_secret, suppression_keys
from app.domain.tracing import Span
from app.replay.service import Replays
from app.store.announced import Refusal
from app.store.api_keys import KeysFollower, KeyWriter
from app.store.audit_log import AuditLog
from app.store.clickhouse import History
from app.store.config_follower import ConfigFollower
from app.store.config_writer import ConfigWriter
from app.store.dead_letters import DeadLetters
from app.store.erased import follow_erased
from app.store.hooks import HooksFollower, HookWriter, secrets_of
from app.store.inbox_follower import InboxFollower
from app.store.lags import RoleLags
from app.store.owner_client import OwnerClient, StateReader
from app.store.owners import OwnersFollower
from app.store.provider_states import PauseWriter, ProvidersFollower
from app.store.publisher import KafkaPublisher
from app.store.queries import Queries
from app.store.recorded_sends import RecordedSends
from app.store.redriven import RedrivenLetters
from app.store.redriver import Redriver
from app.store.topics import retentions, segment_of
from app.streaming.poison import FOLLOWING, PoisonGuard
from app.webhooks.certificates import Certificates
from app.webhooks.doors import Webhooks, webhooks_of
from schemas.topics import COMMANDS, WITHOUT_USERS
from schemas.words import Provider

log = structlog.get_logger(__name__)

#: Calls that are being answered when the gateway is told to stop get so long.
_GRACE_S = 10.0
_MS = timedelta(milliseconds=1)
#: In the gateway's folder: what comparisons of policies need while they run.
_COMPARISONS = "comparisons"
_SESSION_TIMEOUT = aiohttp.ClientTimeout(total=10)


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


async def run_gateway(
    settings: Settings,
    stop: asyncio.Event,
    ready: Callable[[str], None],
    environ: Mapping[str, str] | None = None,
    on_refused: Callable[[Refusal], None] = lambda _: None,
    counting: Counting = UNCOUNTED,
    on_outcome: Callable[[str], None] = lambda _: None,
    on_spans: Callable[[Sequence[Span]], None] | None = None,
) -> None:
    """Serves until ``stop`` is set. ``ready`` is called once, with the address, when the first call can be answered.
    ``environ``: where the settings came from, whose file is followed for its API keys. ``on_refused`` is called for
    each announcement of a worker that doesn't count. ``counting``: of what the door refuses. ``on_outcome``: called
    with each outcome of a replay's candidate. ``on_spans``: takes what traces show; None: there are none.

    Raises KafkaError when no broker can be reached, LookupError where topics are missing, OSError where the port is
    taken, NoSecret, BadCertificate.
    """
    async with AsyncExitStack() as stack:
        deps = await stack.enter_async_context(opened(settings, on_refused, counting, on_outcome))
        if on_spans is not None:
            deps = replace(deps, tracing=Tracing(on_spans, settings.tracing.sample_ratio, unix_ms))
        app = create_app(deps, public_url=settings.gateway.public_url, has_tls=settings.gateway.cert_file is not None)
        runner = web.AppRunner(app, shutdown_timeout=_GRACE_S)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        stack.callback(deps.streams.stop)  # (as soon as nobody can come back here)
        assert runner.server is not None
        connections = Connections(_connection_limits(settings.gateway), deps.counting)
        await stack.enter_async_context(_running(connections.keep_swept()))
        if environ is not None and environ.get(CONFIG_VARIABLE):
            await stack.enter_async_context(_running(_key_follower(environ, settings, deps).follow()))
        server = await listen(settings.gateway, runner.server, connections)
        stack.callback(server.close)
        served = settings.gateway.model_copy(update={"port": server.sockets[0].getsockname()[1]})
        log.info("the gateway is serving", host=served.host, port=served.port)
        ready(served.url)
        await stop.wait()


async def listen(gateway: Gateway, server: web.Server, connections: Connections) -> asyncio.Server:
    """Takes connections, by TLS where the settings have a certificate. Raises OSError, BadCertificate."""
    tls = gateway.server_tls()
    return await asyncio.get_running_loop().create_server(
        connection_factory(server, connections),
        gateway.host,
        gateway.port,
        backlog=1024,
        ssl=tls,
        # Until it is over, a connection isn't among those that are counted and swept.
        ssl_handshake_timeout=None if tls is None else connections.limits.header_s,
    )


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Goes on for as long as the context lasts. What it raises is raised at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _connection_limits(gateway: Gateway) -> ConnectionLimits:
    return ConnectionLimits(unknown=gateway.connections, unknown_per_address=gateway.connections_per_address)


def _key_follower(environ: Mapping[str, str], settings: Settings, deps: Deps) -> KeyFollower:
    file = Path(environ[CONFIG_VARIABLE])

    async def enter(what: str) -> None:
        await deps.audit_log.enter(None, f"gateway {settings.instance}, {socket.gethostname()}", "key.change", what)

    return KeyFollower(
        file,
        lambda: Settings.load(environ).auth.api_keys,
        deps.callers.replace_keys,
        settings.auth.api_keys,
        enter,
        lambda key_id: deps.keys.states.find(key_id) is not None,
    )


@asynccontextmanager
async def opened(
    settings: Settings,
    on_refused: Callable[[Refusal], None] = lambda _: None,
    counting: Counting = UNCOUNTED,
    on_outcome: Callable[[str], None] = lambda _: None,
    is_open: Callable[[Provider], bool] | None = None,
) -> AsyncIterator[Deps]:
    """What the API reaches the world with, from the settings; closed at the end. ``is_open``: whether candidates of a
    provider wait, in place of what its workers and operators say."""
    options = settings.kafka.client_options()
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=_SESSION_TIMEOUT))
        publisher = KafkaPublisher(options, client_id=f"tocsin-gateway-{settings.instance}")
        stack.push_async_callback(publisher.close)
        await publisher.start()
        guard = PoisonGuard()
        guard.open(settings.data_folder("gateway") / FOLLOWING)
        config = ConfigFollower(options, bounds=settings.bounds, guard=guard)
        stack.push_async_callback(config.close)
        await config.start()
        secret = installation_secret(settings)
        reader = StateReader(session, secret, unix_ms, settings.operations.client_tls())
        owners = OwnersFollower(options, secret, unix_ms, on_refused, guard)
        stack.push_async_callback(owners.close)
        await owners.start()
        partitions = await publisher.partitions(COMMANDS)
        providers = ProvidersFollower(options, secret, unix_ms, on_refused, guard=guard)
        stack.push_async_callback(providers.close)
        await providers.start()
        erased, following = follow_erased(options, guard)
        stack.push_async_callback(following.close)
        await following.start()
        redriven = RedrivenLetters(options, publisher)
        stack.push_async_callback(redriven.close)
        await redriven.start()
        owner = OwnerClient(reader, owners, partitions)
        most, most_of_user = settings.gateway.streams, settings.gateway.streams_per_user
        live = Live(
            Streams(owner, most=most, most_of_user=most_of_user, counting=counting), Tickets(secret, publisher, unix_ms)
        )
        inboxes = InboxFollower(options, live, unix_ms, partitions=partitions, since_ms=CLAIMS_MS, guard=guard)
        stack.push_async_callback(inboxes.close)
        await inboxes.start()
        reporter = Reporter(publisher, time.monotonic)
        stack.push_async_callback(reporter.close)
        await reporter.start()
        dead = DeadLetters(options, erased)
        kept = retentions(settings.kafka)
        kept_ms = {topic: limit // _MS for topic, limit in kept.items()}
        history = History(settings)
        stack.push_async_callback(history.close)
        queries = Queries(settings)
        stack.push_async_callback(queries.close)
        is_open = is_open or (lambda provider: not providers.is_available(provider))
        keys = secrets_of(suppression_keys(settings))
        hooks = HooksFollower(options, keys, guard=guard)
        stack.push_async_callback(hooks.close)
        await hooks.start()
        made = KeysFollower(options, keys, guard)
        stack.push_async_callback(made.close)
        await made.start()
        key_writer = KeyWriter(publisher, made, secret, unix_ms)
        await stack.enter_async_context(_running(key_writer.keep_written()))
        replays = Replays(
            settings, publisher, config, erased, unix_ms, partitions, is_open, providers.is_idle, on_outcome, guard
        )
        stack.push_async_callback(replays.close)
        await replays.start()
        campaigns = Campaigns(settings, publisher, config, erased, owner, secret, unix_ms, partitions, guard)
        stack.push_async_callback(campaigns.close)
        await campaigns.start()
        lags = RoleLags(options, partitions, time.monotonic)
        stack.push_async_callback(lags.close)
        comparing = Comparing(
            folder=settings.data_folder("gateway") / _COMPARISONS,
            gateway=f"{settings.instance}, {socket.gethostname()}",
            clock=unix_ms,
        )
        stack.push_async_callback(comparing.close)
        comparing.start()
        yield Deps(
            callers=callers(settings.auth, session, made, key_writer.uses),
            publisher=publisher,
            config=config,
            writer=ConfigWriter(publisher, config, unix_ms),
            owners=owners,
            owner=owner,
            history=history,
            queries=queries,
            dead=dead,
            redriver=Redriver(dead, publisher, redriven, erased, secret, kept_ms, unix_ms),
            audit_log=AuditLog(publisher, options, unix_ms),
            providers=providers,
            pausing=PauseWriter(publisher, providers, secret, unix_ms),
            replays=replays,
            campaigns=campaigns,
            hooks=HookWriter(publisher, hooks, secret, unix_ms),
            keys=key_writer,
            hook_hosts=settings.hooks.allow_hosts,
            sealing=secret,
            erased=erased,
            retentions={
                topic: limit + segment_of(limit) for topic, limit in kept.items() if topic not in WITHOUT_USERS
            },
            partitions=partitions,
            clock=unix_ms,
            new_id=lambda: str(uuid4()),
            limits=Limits(Room(), settings.gateway.rate, time.monotonic),
            codes=Codes(secret, CodeLimits(settings.verify, time.monotonic)),
            sessions=Sessions(secret, lambda: int(time.time())),
            streams=live.streams,
            tickets=live.tickets,
            pages=Pages(settings.branding),
            reporter=reporter,
            links=settings.links,
            cors_origins=frozenset(settings.gateway.cors_origins),
            asks_certificates=settings.gateway.client_ca_file is not None,
            counting=counting,
            webhooks=_webhooks(settings, session),
            lags=lags,
            sends=RecordedSends(options, erased),
            comparing=comparing,
        )


def _webhooks(settings: Settings, session: aiohttp.ClientSession) -> Webhooks:
    ses = settings.providers.ses
    certificates = Certificates(session, ses.ca_file, unix_ms) if ses is not None else None
    return webhooks_of(settings.providers, certificates, settings.gateway.public_url)


def callers(auth: Auth, session: aiohttp.ClientSession, made: MadeKeys, uses: Uses) -> Callers:
    """Who may call, from the settings, and by keys that were made over HTTP."""
    keys: SigningKeys | None = None
    if auth.jwt is not None and auth.jwt.secret is not None:
        keys = SharedSecret(auth.jwt.secret.get_secret_value())
    elif auth.jwt is not None and auth.jwt.jwks_url is not None:
        keys = PublishedKeys(session, auth.jwt.jwks_url)
    return Callers(auth.api_keys, auth.jwt, keys, made=made, uses=uses)
