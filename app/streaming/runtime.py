"""What the runners of one process share."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.domain.erasure import ErasureSteps
from app.domain.out import Tally
from app.domain.tracing import Span
from app.ports import CallExecutor, Machine
from app.streaming.end_offsets import CommandsEndOffsets
from app.streaming.journal import JournalPosition
from app.streaming.poison import PoisonGuard
from app.streaming.producer import BatchProducer
from app.streaming.restore import Committed, Restorer
from schemas.lifecycle import LifecycleEvent


class Positions(Protocol):
    """Where a runner reads and notes the group's commits."""

    async def committed(self, partition: int) -> dict[str, Committed]: ...

    def note(self, partition: int, positions: Mapping[str, int], journal_position: JournalPosition | None) -> None: ...


@dataclass(slots=True)
class Hurry:
    """Whether urgent records wait: fetched and not handed out yet, or in these partitions."""

    partitions: set[int] = field(default_factory=set)
    #: Whether a fetch has just brought some; asked for every record, so it is to be cheap.
    came: Callable[[], bool] = lambda: False

    def is_on(self) -> bool:
        return bool(self.partitions) or self.came()


@dataclass(frozen=True, slots=True)
class Runtime:
    machine: Machine[Any, Any, Any]
    producer: BatchProducer
    restorer: Restorer
    end_offsets: CommandsEndOffsets
    positions: Positions
    clock: Callable[[], int]
    executor: CallExecutor[Any, Any] | None
    crash: Callable[[BaseException], None]
    pause: Callable[[str, int], None]
    resume: Callable[[str, int], None]
    counted: Callable[[str, int], None]
    #: Called with the topic of each record that becomes a dead letter, and the kind of refusal.
    on_dead: Callable[[str, str], None] = lambda topic, code: None
    #: Given what each durable batch has for the metrics, once.
    on_durable: Callable[[Sequence[LifecycleEvent | Tally]], None] = lambda counted: None
    #: Given what each durable batch shows in traces, once.
    on_spans: Callable[[Sequence[Span]], None] = lambda spans: None
    #: What is in force, by its mark, where batches are recorded so that they can be decided again; None: they aren't.
    catalog_mark: Callable[[], bytes] | None = None
    #: The process's name, for whoever reads the journal.
    owner: str = ""
    #: Has a topic's partition fetched from an offset on.
    fetch_again: Callable[[str, int, int], None] = lambda topic, partition, offset: None
    #: Whether all of a topic's partition was read but for what lies behind an open transaction.
    is_held: Callable[[str, int], bool] = lambda topic, partition: False
    #: Seconds of a clock that nobody sets.
    monotonic: Callable[[], float] = time.monotonic
    #: Seconds of real work, by which a batch is bounded.
    stopwatch: Callable[[], float] = time.perf_counter
    #: How often a partition's owner looks whether somebody else wrote to its changelogs.
    look_every_s: float = 10.0
    #: In which steps what was erased leaves log and store; None: it is left to others.
    erasure: ErasureSteps | None = None
    #: Where stores are compacted.
    compactor: Executor | None = None
    hurry: Hurry = field(default_factory=Hurry)
    guard: PoisonGuard = field(default_factory=PoisonGuard)
