"""The hooks role: shares the partitions of ``notify_lifecycle`` among its processes, and keeps a stream for each hook.

The group's consumer only says which partitions are this process's: each hook reads them for itself, and remembers for
itself how far it is.
"""

import asyncio
import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from typing import Any

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry

from agents.hooks.calling import HookCaller
from agents.hooks.stream import Around, HookStream, Span
from app.config import Settings, suppression_keys
from app.domain.hooks import CallOutcome, unseal
from app.kafka.consumers import LogConsumer
from app.metrics import HookMetrics, LogLag
from app.store.audit_log import AuditLog
from app.store.erased import follow_erased
from app.store.hook_positions import Place, read_positions, write_positions
from app.store.hooks import HooksFollower, HookWriter, secrets_of
from app.store.publisher import KafkaPublisher, PublishError
from app.streaming.poison import FOLLOWING, PoisonGuard
from schemas.hooks import Hook, HookDisabled, HookPosition
from schemas.topics import LIFECYCLE

log = structlog.get_logger(__name__)

ROLE = "hooks"
GROUP = f"tocsin_{ROLE}"
OUTCOMES: tuple[CallOutcome, ...] = ("ok", "failed", "gone", "refused")

_LOOK_EVERY_S = 1.0
_NEVER_MS = 24 * 3600 * 1000


async def run_hooks(
    settings: Settings,
    stop: asyncio.Event,
    ready: Callable[[], None],
    registry: CollectorRegistry,
    clock: Callable[[], int],
) -> None:
    """Until ``stop``. Raises KafkaError when no broker can be reached, LookupError where topics are missing, NoSecret.
    ``clock``: Unix ms."""
    options = settings.kafka.client_options()
    async with AsyncExitStack() as closing:
        guard = PoisonGuard()
        guard.open(settings.data_folder(ROLE) / FOLLOWING)
        users, erasures = follow_erased(options, guard)
        closing.push_async_callback(erasures.close)
        await erasures.start()
        secrets = secrets_of(suppression_keys(settings))
        changed = asyncio.Event()
        hooks = HooksFollower(options, secrets, changed.set, guard)
        closing.push_async_callback(hooks.close)
        await hooks.start()
        publisher = KafkaPublisher(options, client_id=f"{GROUP}-{settings.instance}")
        closing.push_async_callback(publisher.close)
        await publisher.start()
        caller = HookCaller(settings.hooks.allow_hosts)
        closing.push_async_callback(caller.close)
        metrics = HookMetrics(registry, OUTCOMES)
        writer = HookWriter(publisher, hooks, secrets[0], clock)
        audit_log = AuditLog(publisher, options, clock)

        async def disable(hook: Hook, why: str) -> None:
            log.warning("a hook is disabled", hook=hook.id, source=hook.source, why=why)
            from_ = f"hooks {settings.instance}, {socket.gethostname()}"
            await audit_log.enter(None, from_, "hook.disable", f"hook {hook.id} of {hook.source or 'no source'}: {why}")
            await writer.write(HookDisabled(id=hook.id, at=clock(), why=why))

        known: dict[Place, HookPosition] = {}

        async def save(positions: Mapping[Place, HookPosition | None]) -> None:
            await write_positions(publisher, positions)

        around = Around(options, caller, known, save, disable, users.hides, metrics, clock)
        streams = Streams(hooks, secrets, around)
        LogLag(registry, ROLE, streams.lags)
        await Partitions(options, settings.instance, streams, known, changed).run(stop, ready)


class Streams:
    """The streams of this process: one for each active hook, and one for each replay."""

    def __init__(self, hooks: HooksFollower, secrets: Collection[bytes], around: Around) -> None:
        self._hooks = hooks
        self._secrets = secrets
        self._around = around
        self._running: dict[str, tuple[HookStream, asyncio.Task[None]]] = {}
        self._partitions: frozenset[int] = frozenset()

    async def take_over(self, partitions: Collection[int]) -> None:
        """From now on these are this process's; what is remembered of them is known. All streams begin anew."""
        await self.end()
        self._partitions = frozenset(partitions)
        await self.follow()

    async def follow(self) -> None:
        """Starts and ends streams as hooks come and go. Of those that are gone nothing is written any more."""
        wanted = {stream.name: stream for stream in self._wanted()} if self._partitions else {}
        gone = [self._running.pop(name)[1] for name in list(self._running) if name not in wanted]
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        for name, stream in wanted.items():
            if name not in self._running:
                self._running[name] = (stream, asyncio.create_task(stream.run(), name=f"hook {name}"))

    async def end(self) -> None:
        """Returns when no call is under way, and all positions are written."""
        running, self._running = list(self._running.values()), {}
        self._partitions = frozenset()
        await asyncio.gather(*(stream.end() for stream, _ in running))
        for _, task in running:
            task.cancel()
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)

    def lags(self) -> dict[tuple[str, int], tuple[int, float]]:
        """Of each partition, how many records the hook that is farthest behind has before it, and the age of the oldest
        that any has in hand, in s."""
        now, lags = self._around.clock(), {}
        for number in sorted(self._partitions):
            behind = [stream.lag(number) for stream, _ in self._running.values()]
            oldest = min((at for _, at in behind if at is not None), default=now)
            lags[LIFECYCLE, number] = (max((count for count, _ in behind), default=0), max(0, now - oldest) / 1000)
        return lags

    def show(self) -> None:
        """Shows the metrics what there is."""
        hooks = self._hooks.all()
        disabled = sum(self._hooks.disabled(hook.id) is not None for hook in hooks)
        waiting = {name: stream.window.waiting for name, (stream, _) in self._running.items() if "/" not in name}
        self._around.metrics.show(len(hooks) - disabled, disabled, waiting)

    def is_known(self, stream: str) -> bool:
        """Whether a stream of that name may still be needed."""
        hook_id, _, replay_id = stream.partition("/")
        replay = self._hooks.replay(hook_id)
        return self._hooks.hook(hook_id) is not None and (
            not replay_id or (replay is not None and replay.replay_id == replay_id)
        )

    async def forget(self, places: Collection[Place]) -> None:
        """Raises PublishError."""
        await self._around.save(dict.fromkeys(places))

    def _wanted(self) -> list[HookStream]:
        streams = []
        for hook in self._hooks.all():
            if self._hooks.disabled(hook.id) is not None:
                continue
            secret = unseal(hook.sealed, self._secrets, hook.id)
            if secret is None:
                log.error("a hook's secret can't be read: it isn't called", hook=hook.id)
                continue
            streams.append(HookStream(hook, secret, self._partitions, self._around))
            if (replay := self._hooks.replay(hook.id)) is not None:
                span = Span(replay.from_ms, replay.to_ms)
                streams.append(HookStream(hook, secret, self._partitions, self._around, replay.replay_id, span))
        return streams


class Partitions(ConsumerRebalanceListener):  # type: ignore[misc]
    """Which partitions are this process's, as its group says."""

    def __init__(
        self,
        options: Mapping[str, Any],
        instance: str,
        streams: Streams,
        known: dict[Place, HookPosition],
        changed: asyncio.Event,
    ) -> None:
        self._options = options
        self._instance = instance
        self._streams = streams
        self._known = known
        self._changed = changed
        self._assigned: frozenset[int] | None = None

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        consumer = LogConsumer(
            **self._options,
            group_id=GROUP,
            client_id=GROUP,
            group_instance_id=f"{ROLE}-{self._instance}",
            auto_offset_reset="latest",
            max_poll_interval_ms=_NEVER_MS,
        )
        await consumer.start()
        try:
            consumer.subscribe([LIFECYCLE], listener=self)
            is_ready = False
            while not stop.is_set():
                if (assigned := self._assigned) is not None:
                    self._assigned = None
                    consumer.pause(*(TopicPartition(LIFECYCLE, number) for number in assigned))
                    await self._take_over(assigned)
                    if not is_ready:
                        ready()
                        is_ready = True
                await self._look(consumer)
        finally:
            await self._streams.end()
            await consumer.stop()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """No call is made any more when another process may make it."""
        self._assigned = None
        await self._streams.end()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._assigned = frozenset(at.partition for at in assigned)

    async def _take_over(self, assigned: frozenset[int]) -> None:
        try:
            found = await read_positions(self._options, assigned) if assigned else {}
        except KafkaError as error:
            log.warning("positions of hooks can't be read yet", error=type(error).__name__)
            self._assigned = assigned if self._assigned is None else self._assigned
            return
        self._known.clear()
        self._known.update(found)
        await self._streams.take_over(assigned)
        await self._forget()

    async def _look(self, consumer: LogConsumer) -> None:
        """Waits a moment for hooks that come and go. (A consumer that is asked now and then stays in its group.)"""
        await consumer.getmany(timeout_ms=0)
        try:
            async with asyncio.timeout(_LOOK_EVERY_S):
                await self._changed.wait()
        except TimeoutError:
            pass
        else:
            self._changed.clear()
            await self._streams.follow()
            await self._forget()
        self._streams.show()

    async def _forget(self) -> None:
        """What is remembered of hooks and replays that are gone."""
        gone = [place for place in self._known if not self._streams.is_known(place.stream)]
        try:
            await self._streams.forget(gone)
        except PublishError:
            return  # (the next one who takes the partition over sees it)
        for place in gone:
            del self._known[place]
