"""One worker process of a role: the real runner and committer over a log, a disk and a clock that are simulated."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from app.domain.out import Tally
from app.ports import Urgency
from app.streaming.buffers import Fetch
from app.streaming.end_offsets import EndOffset
from app.streaming.journal import Fenced, JournalPosition
from app.streaming.offset_commits import Committer
from app.streaming.producer import ProduceFailed
from app.streaming.runner import PartitionRunner
from app.streaming.runtime import Runtime
from schemas.lifecycle import LifecycleEvent
from schemas.topics import COMMANDS, changelog_topic, journal_topic
from schemas.words import ENDS
from tests.simulation.broker import Broker
from tests.simulation.clients import Group, Horizon, LogRestorer, Member, Producer
from tests.simulation.disk import Disk
from tests.simulation.loop import Killed, Life, VirtualLoop, context_of

#: A channel's calls in hand at most.
CALLS_AT_ONCE = 6

#: Replaces some of a process's parts; tests of the simulation break one thing by it.
Sabotage = Callable[[Runtime, "Process"], Runtime]


class Process:
    """``clock``: Unix ms. ``on_death``: told when it died."""

    def __init__(
        self,
        name: str,
        machine: Any,
        executor: Any,
        group: Group,
        broker: Broker,
        loop: VirtualLoop,
        chance: Random,
        clock: Callable[[], int],
        on_death: Callable[["Process", str], None],
        sabotage: Sabotage,
    ) -> None:
        self.life = Life(name)
        self.role: str = machine.role
        self.executor = executor
        self.group = group
        self.broker = broker
        self.loop = loop
        #: How likely it is to die at each point of a checkpoint.
        self.deadly = 0.0
        self.died = asyncio.Event()
        self.runners: dict[int, PartitionRunner] = {}
        self.disks: dict[int, Disk] = {}
        self._chance = chance
        self._on_death = on_death
        self.tables: tuple[str, ...] = tuple(machine.tables)
        self.topics = [i.topic for i in machine.subscriptions]
        self.producer = Producer(loop, broker, chance, self.life)
        self.member = Member(group, chance, self.life)
        self.committer = _MortalCommitter(self.topics, self)
        self.committer.join(self.member)
        self._news = asyncio.Event()
        self._fetched: dict[tuple[str, int], int] = {}
        #: Where a fetch says that the commands of a partition end.
        self.commands_end: Callable[[int], int] = lambda partition: broker.end(COMMANDS, partition)
        self._paused: set[tuple[str, int]] = set()
        parts = Runtime(
            machine=machine,
            producer=self.producer,  # type: ignore[arg-type]
            restorer=LogRestorer(
                broker,
                chance,
                {name: changelog_topic(self.role, name) for name in machine.tables},
                journal_topic(self.role),
            ),
            end_offsets=Horizon(broker, chance),  # type: ignore[arg-type]
            positions=self.committer,
            clock=clock,
            executor=executor,
            crash=self._crash,
            pause=lambda topic, partition: self._paused.add((topic, partition)),
            resume=self._resume,
            counted=lambda name, count: None,
            on_durable=self._count,
            owner=name,
            fetch_again=self._fetch_again,
            monotonic=loop.time,
            # Batches of any length: as if deciding took a while, or none.
            stopwatch=lambda: chance.random() * 0.0508,
            look_every_s=1.0,
        )
        self.parts = sabotage(parts, self)
        loop.born(self.life)
        broker.listeners.append(self._appended)
        loop.spawn(self.life, self._fetch())
        loop.spawn(self.life, self._commit())

    def _count(self, counted: Sequence[LifecycleEvent | Tally]) -> None:
        ends = (each for each in counted if isinstance(each, LifecycleEvent) and each.status in ENDS)
        self.broker.counted.extend(event.event_id for event in ends)

    # --- life ---

    def open(self, partition: int, disk: Disk) -> None:
        """The group gave it a partition."""
        disk.before = disk.after = self.perhaps_die
        for topic in self.topics:
            self._fetched[topic, partition] = self.group.position(topic, partition)
        runner = PartitionRunner(partition, disk, self.parts)  # type: ignore[arg-type]
        self.runners[partition] = runner
        self.disks[partition] = disk
        context_of(self.life).run(runner.start)
        self._news.set()

    async def give_up(self) -> None:
        """Before a rebalance, and before the end: what ``RoleWorker.drain`` does."""
        runners, self.runners = self.runners, {}
        await asyncio.gather(*(runner.drain(10.0) for runner in runners.values()))
        await self.committer.flush()
        for partition in runners:
            self.committer.forget(partition)

    def idle(self) -> bool:
        """Nothing is under way."""
        calls = self.executor is not None and self.executor.room(Urgency.CRITICAL) < CALLS_AT_ONCE
        return not (calls or self.producer.under_way or self.life.frozen)

    def kill(self, why: str) -> None:
        if self.life.alive:
            self.loop.kill(self.life)
            self.broker.listeners.remove(self._appended)
            self.died.set()
            self._on_death(self, why)

    def perhaps_die(self) -> None:
        """A point of a checkpoint at which a crash is of interest."""
        if self._chance.random() < self.deadly:
            self.kill("at a point of a checkpoint")
            raise Killed

    def _crash(self, error: BaseException) -> None:
        if self.life.alive:
            if not isinstance(error, ProduceFailed | Fenced):
                self.group.bugs.append(f"{self.life} stopped by {error!r}")
            self.loop.call_soon(self.kill, f"by itself: {error!r}", context=context_of(self.loop.world))

    # --- what it does by itself ---

    def _appended(self, topic: str, partition: int) -> None:
        if partition in self.runners and (topic, partition) in self._fetched:
            self._news.set()

    def _resume(self, topic: str, partition: int) -> None:
        self._paused.discard((topic, partition))
        self._news.set()

    def _fetch_again(self, topic: str, partition: int, offset: int) -> None:
        self._fetched[topic, partition] = offset
        self._news.set()

    async def _fetch(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            since, fresh_since = self.parts.clock(), self.parts.monotonic()
            await asyncio.sleep(self._chance.random() ** 3 * 0.1)
            for (topic, partition), position in list(self._fetched.items()):
                if partition not in self.runners or (topic, partition) in self._paused:
                    continue
                end = self.broker.end(topic, partition)
                if position >= end:
                    continue
                if self._chance.random() < (0.7 if topic == COMMANDS else 0.3):  # its answer is on the way
                    self._news.set()
                    continue
                records = self.broker.read(topic, partition, position, self._chance.choice((1, 3, 1000)))
                reached = records[-1].offset + 1 if records else end
                told = self._chance.random() < 0.7
                end_offset = EndOffset(self.commands_end(partition), since, fresh_since) if told else None
                self.runners[partition].offer(Fetch(topic, partition, records, position, reached, end_offset))
                self._fetched[topic, partition] = reached
                if reached < end:
                    self._news.set()

    async def _commit(self) -> None:
        while True:
            await asyncio.sleep(0.05 + self._chance.random() * 0.3)
            await self.committer.flush()


class _MortalCommitter(Committer):
    def __init__(self, topics: list[str], process: Process) -> None:
        super().__init__(topics)
        self._process = process

    def note(self, partition: int, positions: Mapping[str, int], journal_position: JournalPosition | None) -> None:
        self._process.perhaps_die()
        super().note(partition, positions, journal_position)
