"""After an erasure, makes sure that the bytes of the deleted rows leave the compacted topics and the store.

Kafka compacts no active segment, and a quiet partition's stays active until something is written to it; RocksDB keeps
deleted rows until it compacts their files. So the owner of a partition does both in rounds, each for all erasures
before it (docs/decisions/0013-erasure-reaches-the-log.md):

1. it writes two records with one key to every changelog and to the journal: the probe;
2. when the active segments are old enough, it writes once more, so that the broker rolls them, and compacts the store;
3. it looks until the broker has dropped the probes' first records. Then it has compacted whatever lay before them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from aiokafka.errors import KafkaError

from app.domain.erasure import ErasureSteps
from app.streaming.store import Reclaimed
from schemas.instants import rfc3339

log = structlog.get_logger(__name__)

#: The broker compares the timestamps of batches, which may be written a moment later than they are dated.
_MARGIN_S = 1.0
#: How often it is looked at least, in the time in which erasures are gathered.
_LOOKS = 6


class Probing(Protocol):
    """What ``Checkpoints`` does for it."""

    async def probe(self, positions: dict[str, int], records: int) -> dict[str, int]:
        """Writes so many records without meaning to each of the partition's compacted topics; returns the offset of
        the first of them by topic."""
        ...


class Store(Protocol):
    """What ``PartitionStore`` does for it."""

    @property
    def reclaim_pending(self) -> bool: ...

    def reclaim_begins(self) -> None: ...

    def compact(self) -> None: ...

    def note_reclaimed(self, done: Reclaimed, *, is_all: bool) -> None: ...

    def reclaimed(self) -> Reclaimed | None: ...


#: Which of these topics no longer hold the record at that offset of a partition. Raises KafkaError.
Gone = Callable[[int, Mapping[str, int]], Awaitable[set[str]]]


@dataclass(slots=True)
class _Round:
    #: Unix ms, and by the loop's time.
    began_ms: int
    began: float
    #: The probe's first record in each topic that still holds it.
    probes: dict[str, int]
    is_rolled: bool = False
    compacting: "asyncio.Task[int] | None" = None
    looked: float = 0.0
    is_late: bool = False

    def is_compacted(self) -> bool:
        return self.compacting is not None and self.compacting.done() and not self.compacting.cancelled()


class Reclaimer:
    """One partition's rounds, as its owner makes them. ``clock``: Unix ms."""

    def __init__(
        self,
        partition: int,
        store: Store,
        probing: Probing,
        gone: Gone,
        steps: ErasureSteps,
        clock: Callable[[], int],
        compactor: Executor | None = None,
    ) -> None:
        """``compactor``: where stores are compacted, one at a time."""
        self._partition = partition
        self._store = store
        self._probing = probing
        self._gone = gone
        self._clock = clock
        self._gather_s = steps.gather.total_seconds()
        self._roll_s = steps.roll.total_seconds() + _MARGIN_S
        self._within_s = steps.within.total_seconds()
        self._look_s = max(1.0, self._gather_s / _LOOKS)
        self._compactor = compactor
        self._rounds: list[_Round] = []
        self._looking: asyncio.Task[Any] | None = None

    def state(self, owner: str) -> dict[str, Any]:
        """For the certificate of an erasure: until when users were erased who are gone, what that was seen of, and by
        whom."""
        done = self._store.reclaimed()
        pending = sorted({topic for each in self._rounds for topic in each.probes})
        return {
            "by": owner,
            "erased_before": None if done is None else rfc3339(done.before_ms),
            "store_compacted_at": None if done is None else rfc3339(done.store_ms),
            "log_compacted_at": None if done is None else rfc3339(done.log_ms),
            "pending_topics": pending,
        }

    async def step(self, positions: Callable[[], dict[str, int]]) -> None:
        """To be called often, between checkpoints; costs little where nothing is pending. ``positions``: as checkpoints
        take them."""
        if not self._rounds and not self._store.reclaim_pending:
            return
        now = asyncio.get_running_loop().time()
        for each in self._rounds:
            if not each.is_rolled and now - each.began >= self._roll_s:
                each.is_rolled = True
                await self._probing.probe(positions(), 1)
                each.compacting = asyncio.create_task(self._compact())
        if self._is_time_to_begin(now):
            self._store.reclaim_begins()
            began_ms = self._clock()
            self._rounds.append(_Round(began_ms, now, await self._probing.probe(positions(), 2)))
        self._look(now)

    async def stop(self) -> None:
        """Leaves the rounds to whoever owns the partition next: they are still pending. A compaction that goes on ends
        when the store is closed."""
        tasks: list[asyncio.Task[Any]] = [each.compacting for each in self._rounds if each.compacting is not None]
        if self._looking is not None:
            tasks.append(self._looking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_time_to_begin(self, now: float) -> bool:
        if not self._store.reclaim_pending:
            return False
        return not self._rounds or now - self._rounds[-1].began >= self._gather_s

    def _look(self, now: float) -> None:
        if self._looking is not None and not self._looking.done():
            return
        due = [each for each in self._rounds if each.is_compacted() and now - each.looked >= self._look_s]
        if due:
            due[0].looked = now
            self._looking = asyncio.create_task(self._look_at(due[0]))

    async def _compact(self) -> int:
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._compactor, self._store.compact)
                return self._clock()
            except Exception as error:
                log.warning("can't compact the store: retrying", partition=self._partition, error=repr(error))
                await asyncio.sleep(self._look_s)

    async def _look_at(self, each: _Round) -> None:
        try:
            for topic in await self._gone(self._partition, each.probes):
                del each.probes[topic]
            if not each.probes:
                self._end(each)
            elif not each.is_late and asyncio.get_running_loop().time() - each.began > self._within_s:
                each.is_late = True
                log.error(
                    "what was erased is still in the log: see `tocsin doctor` on the log cleaner",
                    topics=sorted(each.probes),
                    partition=self._partition,
                )
        except KafkaError as error:
            log.warning("can't tell whether the log is compacted: retrying later", error=repr(error))

    def _end(self, each: _Round) -> None:
        assert each.compacting is not None
        self._rounds.remove(each)
        is_all = not self._rounds and not self._store.reclaim_pending
        self._store.note_reclaimed(Reclaimed(each.began_ms, each.compacting.result(), self._clock()), is_all=is_all)
