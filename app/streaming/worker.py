"""A role's worker: a Faust app whose agents hand what they get to the runners of the partitions that it owns."""

import asyncio
import shutil
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog
from faust.types import TP

from app.domain.erasure import ErasureSteps
from app.domain.out import Tally
from app.domain.tracing import Span
from app.ports import CallExecutor, Machine, NotOwned, Urgency
from app.streaming.buffers import Fetch
from app.streaming.end_offsets import CommandsEndOffsets
from app.streaming.offset_commits import Committer
from app.streaming.overrides import CheckpointApp, CheckpointTableManager, Hooks, credentials_of
from app.streaming.poison import PoisonGuard
from app.streaming.producer import BatchProducer
from app.streaming.restore import Restorer
from app.streaming.runner import PartitionRunner
from app.streaming.runtime import Hurry, Runtime
from app.streaming.stall_detection import STALLED_S, Progress, StallDetector, Stalled
from app.streaming.standby import Standby
from app.streaming.store import PartitionStore, block_cache, open_store, set_aside_abandoned
from app.streaming.views import AUDIT
from schemas.lifecycle import LifecycleEvent
from schemas.topics import COMMANDS, changelog_topic, journal_topic

log = structlog.get_logger(__name__)

#: Calls in flight are waited for so long, then left to their deadlines: neither a rebalance nor an end takes longer.
_DRAIN_S = 2.0
_COMMIT_S = 1.5
_LOOK_EVERY_S = 1.0
_TOUCH_EVERY_S = 60.0
_LOOK_AT_CHANGELOGS_S = 10.0


class RoleWorker:
    """Runs one machine on the partitions that the group assigns to this process."""

    def __init__(
        self,
        machine: Machine[Any, Any, Any],
        *,
        client_options: Mapping[str, Any],
        folder: Path,
        instance: str,
        partitions: int,
        executor: CallExecutor[Any, Any] | None = None,
        clock: Callable[[], int],
        counted: Callable[[str, int], None] = lambda name, count: None,
        on_dead: Callable[[str, str], None] = lambda topic, code: None,
        on_durable: Callable[[Sequence[LifecycleEvent | Tally]], None] = lambda counted: None,
        on_spans: Callable[[Sequence[Span]], None] = lambda spans: None,
        on_owned: Callable[[frozenset[int]], None] = lambda owned: None,
        session_timeout_s: float = 10.0,
        standby: bool = False,
        erasure: ErasureSteps | None = None,
        catalog_mark: Callable[[], bytes] | None = None,
    ) -> None:
        """``client_options``: aiokafka's options to reach the brokers. ``on_durable`` is given what each durable batch
        has for the metrics, ``on_spans`` what it has for traces. ``on_owned`` hears of every change. ``standby``:
        whether to keep copies of what others own. ``erasure``: in which steps what was erased leaves log and stores.
        ``catalog_mark``: see ``Runtime``."""
        role = machine.role
        self.machine = machine
        self.crashed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._folder = folder
        self._on_owned = on_owned
        self._runners: dict[int, PartitionRunner] = {}
        self._stores: dict[int, PartitionStore] = {}
        self._cache = block_cache()
        self._erasure = erasure
        self._compactor = ThreadPoolExecutor(1, f"compact-{role}")
        self._topics = [i.topic for i in machine.subscriptions]
        self._producer = BatchProducer(client_options, f"tocsin-{role}-{instance}")
        self._horizon = CommandsEndOffsets(client_options, COMMANDS)
        self._committer = Committer(self._topics)
        self._tasks: list[asyncio.Task[None]] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._clock = clock
        self._stall_detector = StallDetector()
        #: What stands still though it has something to do, and for how long (s); how late the loop was last (s).
        self.still: Mapping[str, float] = {}
        self.loop_lag_s = 0.0
        self._assigned_once = False
        self._hooks = Hooks(
            drain=self.drain,
            is_busy=lambda: any(runner.is_busy for runner in list(self._runners.values())),
            clock=clock,
            urgent_topics=frozenset(i.topic for i in machine.subscriptions if i.urgency is Urgency.CRITICAL),
            patient_topics=frozenset(i.topic for i in machine.subscriptions if i.patient),
        )
        self._app = _faust_app(role, client_options, folder, instance, session_timeout_s, self._hooks)
        self._hurry = Hurry(came=self._urgent_came)
        self._guard = PoisonGuard()
        self._declare(partitions)
        self._runtime = Runtime(
            machine=machine,
            producer=self._producer,
            restorer=Restorer(
                client_options, {name: changelog_topic(role, name) for name in machine.tables}, journal_topic(role)
            ),
            end_offsets=self._horizon,
            positions=self._committer,
            clock=clock,
            executor=executor,
            crash=self._crash,
            pause=lambda topic, partition: self._app.consumer.pause_partitions({TP(topic, partition)}),
            resume=lambda topic, partition: self._app.consumer.resume_partitions({TP(topic, partition)}),
            counted=counted,
            on_dead=on_dead,
            on_durable=on_durable,
            on_spans=on_spans,
            owner=f"{role}-{instance}",
            catalog_mark=catalog_mark,
            fetch_again=self._fetch_again,
            is_held=self._is_held,
            hurry=self._hurry,
            guard=self._guard,
            look_every_s=_LOOK_AT_CHANGELOGS_S if erasure is None else erasure.look.total_seconds(),
            erasure=erasure,
            compactor=self._compactor,
        )
        copying = (self._runtime.restorer, self._store, partitions, clock, self._compactor)
        self._standby = Standby(*copying) if standby else None

    # --- life ---

    async def start(self) -> None:
        """Returns when it takes part, or as soon as it is known that it never will: then ``crashed`` says why."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._guard.open(self._folder)
        await self._producer.start()
        await self._horizon.start()
        self._begin(self._committer.run(), self._watch_faust(), self._look_now_and_then())
        starting: asyncio.Future[None] = asyncio.create_task(self._app.start())
        either: list[asyncio.Future[Any]] = [starting, self.crashed]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():  # what Faust waits for may never come, as from a thread that has died
            starting.cancel()
            await asyncio.wait([starting], timeout=_DRAIN_S)
            return
        starting.result()
        if self._standby is not None:
            self._begin(self._standby.run())
        if self._erasure is not None:
            self._begin(self._remove_abandoned(self._erasure))

    def _begin(self, *duties: Coroutine[Any, Any, None]) -> None:
        self._tasks += [asyncio.create_task(self._on_duty(duty)) for duty in duties]

    async def stop(self) -> None:
        """Finishes what is under way, commits, leaves the group. What fails keeps nothing else from being stopped; the
        first failure is raised at the end."""
        steps = (self._app.stop, self.drain, self._end_duties, self._horizon.stop, self._producer.stop, self._close)
        failures = []
        for step in steps:
            try:
                await step()
            except Exception as error:
                log.warning("stopping failed", step=step.__qualname__, error=repr(error))
                failures.append(error)
        if failures:
            raise failures[0]

    async def _end_duties(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _close(self) -> None:
        for store in self._stores.values():
            await asyncio.to_thread(store.close)  # (it may wait for a compaction to end with its file)
        self._stores.clear()
        self._compactor.shutdown(wait=False, cancel_futures=True)

    @property
    def owned(self) -> frozenset[int]:
        return frozenset(self._runners)

    def problem(self) -> str | None:
        """Why this worker isn't ready, None when it is: partitions owned, tables up to date."""
        if self.crashed.done():
            return "stopped by an error"
        if not self._assigned_once:
            return "no partitions assigned yet"
        restoring = sorted(p for p, runner in self._runners.items() if not runner.ready.is_set())
        if restoring:
            return f"restoring partitions {restoring}"
        still = [f"{what} for {seconds:.0f} s" for what, seconds in self.still.items() if seconds > STALLED_S / 2]
        return f"standing still: {', '.join(still)}" if still else None

    async def read(
        self, partition: int, view: str, user_id: str, params: Mapping[str, str], after: int | None, within_s: float
    ) -> Any:
        """Raises NotOwned, TimeoutError, LookupError."""
        runner = self._runners.get(partition)
        if runner is None:
            raise NotOwned(str(partition))
        return await runner.read(view, user_id, params, after, within_s)

    def behind(self) -> dict[tuple[str, int], int]:
        """How many records of each topic's partition are in the log and not handled, as far as fetches reported."""
        return {
            (topic, partition): max(0, end - position)
            for partition, runner in self._runners.items()
            for topic in self._topics
            if (position := runner.position(topic)) is not None and (end := self._end(topic, partition)) is not None
        }

    def lag_seconds(self) -> dict[tuple[str, int], float]:
        """The age of the oldest record of each topic's partition that isn't handled."""
        now = self._clock()
        return {
            (topic, partition): 0.0 if since is None else max(0, now - since) / 1000
            for partition, runner in self._runners.items()
            for topic in self._topics
            if runner.ready.is_set()
            for since in [runner.waits_since(topic, self._end(topic, partition))]
        }

    def overdue_seconds(self) -> dict[int, float]:
        """How long the oldest due row has waited for its turn, by partition."""
        return {partition: runner.overdue_s() for partition, runner in self._runners.items()}

    def waiting(self) -> dict[int, int]:
        """Fetched records that wait, by partition."""
        return {p: runner.behind() for p, runner in self._runners.items()}

    def unread(self) -> int:
        """How many records of what is asked of the role wait in the log, or fetched, in the partitions owned."""
        return sum(runner.unread(self._end) for runner in self._runners.values())

    def _end(self, topic: str, partition: int) -> int | None:
        at, consumer = TP(topic, partition), self._app.consumer
        try:
            return consumer.highwater(at) if at in consumer.assignment() else None
        except AssertionError:
            return None  # it was taken away this very moment: the consumer has a thread of its own

    def _is_held(self, topic: str, partition: int) -> bool:
        consumer = self._app._consumer
        return consumer is not None and consumer._thread.is_held(TP(topic, partition))

    # --- partitions ---

    async def drain(self) -> None:
        """Lets every runner finish, within a limit, and commits; called before a rebalance and before the end."""
        runners, self._runners = self._runners, {}
        if not runners:
            return
        await asyncio.gather(*(runner.drain(_DRAIN_S) for runner in runners.values()))
        try:
            async with asyncio.timeout(_COMMIT_S):
                await self._committer.flush()
        except Exception as error:  # a hint, and the consumer's thread may be dead: the journal knows better
            log.warning("last commit failed", error=repr(error))
        for partition in runners:
            self._committer.forget(partition)
        self._on_owned(self.owned)

    async def _on_assigned(self, _: Any, assigned: set[TP], **__: Any) -> None:
        self._committer.join(self._app.consumer._thread)
        mine = {tp.partition for tp in assigned if tp.topic in self._topics}
        self._assigned_once = True
        if self._standby is not None:
            await self._standby.leave(mine)
        else:
            for partition in set(self._stores) - mine:
                await asyncio.to_thread(self._stores.pop(partition).close)
        for partition in mine - set(self._runners):
            runner = PartitionRunner(partition, self._store(partition), self._runtime)
            self._runners[partition] = runner
            runner.start()
        self._on_owned(self.owned)

    def _store(self, partition: int) -> PartitionStore:
        if partition not in self._stores:
            store, broken = open_store(self._folder / "tables" / str(partition), self._cache, self._clock())
            if broken:
                log.warning("the store was broken: rebuilding it from the log", partition=partition, error=broken)
            self._stores[partition] = store
        return self._stores[partition]

    def _urgent_came(self) -> bool:
        consumer = self._app._consumer
        return consumer is not None and consumer._thread.urgent_came

    def _offer(self, fetched: Fetch) -> None:
        if fetched.topic in self._hooks.urgent_topics:
            self._app.consumer._thread.urgent_came = False  # from here on its partition is known
        runner = self._runners.get(fetched.partition)
        if runner is None:
            return  # (whoever opens it has all fetched from where it stands)
        if fetched.generation == self._app.consumer_generation_id:
            runner.offer(fetched)
        else:
            self._fetch_again(fetched.topic, fetched.partition, fetched.start)

    def _fetch_again(self, topic: str, partition: int, offset: int) -> None:
        asking = asyncio.create_task(
            self._on_duty(self._app.consumer._thread.fetch_again({TP(topic, partition): offset}))
        )
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)

    # --- Faust ---

    def _declare(self, partitions: int) -> None:
        for topic in self._topics:
            channel = self._app.topic(topic, key_type=bytes, value_type=bytes, internal=True, partitions=partitions)
            self._app.agent(channel, name=f"{self.machine.role}.{topic}")(self._intake())
        for table in self.machine.tables:
            self._app.Table(table, partitions=partitions, key_type=bytes, value_type=bytes)
        self._app.on_partitions_assigned.connect(self._on_assigned, weak=False)

    def _intake(self) -> Any:
        async def subscription(stream: Any) -> None:
            async for fetched in stream:
                self._offer(fetched)

        return subscription

    def _crash(self, error: BaseException) -> None:
        if not self.crashed.done():
            self.crashed.set_result(error)

    async def _on_duty(self, duty: Coroutine[Any, Any, None]) -> None:
        try:
            await duty
        except Exception as error:
            self._crash(error)

    async def _look_now_and_then(self) -> None:
        """Detects what is stalled or has died, and how late the loop is; keeps stores from growing old."""
        touched, due = 0.0, time.monotonic() + _LOOK_EVERY_S
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now = time.monotonic()
            self.loop_lag_s, due = max(0.0, now - due), now + _LOOK_EVERY_S
            if self._app._consumer is not None and self._app._consumer._thread.has_died:
                raise RuntimeError("the consumer's thread has died")
            self.still = self._stall_detector.look(self._progress())
            self.lag_seconds()  # it tells since when what can't be read yet waits, so it is asked often
            longest = max(self.still, key=self.still.__getitem__, default=None)
            if longest is not None and self.still[longest] > STALLED_S:
                raise Stalled(f"{longest} for {self.still[longest]:.0f} s")
            if now - touched > _TOUCH_EVERY_S:
                touched = now
                for partition, runner in self._runners.items():
                    if runner.ready.is_set():
                        self._stores[partition].touch(self._clock())

    async def _remove_abandoned(self, erasure: ErasureSteps) -> None:
        """Now and then deletes the stores of partitions that went to others, and what an audit stored."""
        while True:
            await self._remove_abandoned_now(erasure)
            await asyncio.sleep(erasure.gather.total_seconds())

    async def _remove_abandoned_now(self, erasure: ErasureSteps) -> None:
        used, abandon_s = {str(partition) for partition in self._stores}, erasure.abandon.total_seconds()
        try:
            aside = set_aside_abandoned(self._folder / "tables", used, time.time(), abandon_s)
            aside += set_aside_abandoned(self._folder.parent / AUDIT, (), time.time(), abandon_s)  # an audit's copies
        except OSError as error:  # (the next round tries again)
            log.warning("stores that nobody uses could not be set aside", error=repr(error))
            return
        for folder in aside:
            log.info("deleted a store that nobody keeps up to date", folder=folder.name)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _progress(self) -> dict[str, Progress]:
        progress = {
            f"partition {number}: {what}": at
            for number, runner in self._runners.items()
            for what, at in runner.progress().items()
        }
        return progress | {"committing": self._committer.progress()}

    async def _watch_faust(self) -> None:
        await self._app._crashed.wait()
        self._crash(self._app._crash_reason or RuntimeError("Faust stopped"))


def _faust_app(
    role: str, client_options: Mapping[str, Any], folder: Path, instance: str, session_timeout_s: float, hooks: Hooks
) -> CheckpointApp:
    brokers = str(client_options["bootstrap_servers"]).split(",")
    return CheckpointApp(
        f"tocsin_{role}",
        hooks=hooks,
        broker=[f"kafka://{broker.strip()}" for broker in brokers],
        broker_credentials=credentials_of(client_options),
        datadir=folder / "faust",
        store="memory://",
        TableManager=CheckpointTableManager,
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=min(3.0, session_timeout_s / 3),
        broker_request_timeout=40.0,
        broker_rebalance_timeout=60.0,
        # Idle and paused members must not leave the group.
        broker_max_poll_interval=604_800.0,
        broker_max_poll_records=4_000,
        consumer_auto_offset_reset="earliest",
        # A restarted worker takes its partitions up again without a rebalance.
        consumer_group_instance_id=f"{role}-{instance}",
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        stream_recovery_delay=0.0,
        stream_buffer_maxsize=1_000_000,
        web_enabled=False,
        # The assignor tells members apart by it.
        canonical_url=f"http://{role}-{instance}",
        logging_config=None,
    )
