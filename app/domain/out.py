"""What a batch of decisions wants done: records to produce and calls to make, carried out by the runner."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from app.domain.tracing import Span
from schemas.lifecycle import LifecycleEvent, encode_lifecycle
from schemas.topics import LIFECYCLE

#: The partition that is being handled.
SAME_PARTITION = -1


class Produce(Struct, frozen=True, array_like=True, gc=False):
    """One record to produce, as it also lies in the journal."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int = SAME_PARTITION
    #: None: the time at which it is produced.
    timestamp_ms: int | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()


#: Something that no lifecycle event says: a counter's name, then the values of its labels.
Tally = tuple[str, ...]


class Mark(NamedTuple):
    """Where one record's outputs begin."""

    records: int
    calls: int
    moved: int
    unknown: int
    tokens_moved: int
    size: int
    counted: int
    spans: int


class Out:
    """Collects, in order. Records are durable before any call begins."""

    __slots__ = (
        "calls",
        "counted",
        "fresh_since",
        "known_at",
        "moved",
        "records",
        "size",
        "spans",
        "tokens_moved",
        "unknown",
        "works_on",
    )

    def __init__(
        self,
        known_at: int | None = None,
        works_on: Callable[[bytes], None] = lambda key: None,
        fresh_since: float | None = None,
    ) -> None:
        """``known_at``: up to when what is decided next knows all commands, Unix ms; None: up to its own time.
        ``works_on``: called with the key of each send that is worked on, and with none when that is done; raises
        ``app.ports.Poison`` where it ended process after process. ``fresh_since``: ``known_at`` in
        seconds of a clock that nobody sets, as far as that is known."""
        self.known_at = known_at
        self.works_on = works_on
        self.fresh_since = fresh_since
        self.records: list[Produce] = []
        #: What the role's ``perform`` is to do outside (a provider call); its result comes back to ``settle``.
        self.calls: list[Any] = []
        #: Records that lay in the wrong partition.
        self.moved = 0
        #: Receipts of sends that aren't known (any more).
        self.unknown = 0
        #: Device tokens that another user has now.
        self.tokens_moved = 0
        #: How many bytes the batch's rows and records take in its journal entry, at most.
        self.size = 0
        #: What metrics count once the batch is durable: its lifecycle events, and what they don't say.
        self.counted: list[LifecycleEvent | Tally] = []
        #: What traces show once the batch is durable; mostly there is none.
        self.spans: list[Span] = []

    def emit(self, event: LifecycleEvent) -> None:
        """Writes a lifecycle event, which is counted."""
        self.counted.append(event)
        self.records.append(Produce(LIFECYCLE, event.user_id.encode(), encode_lifecycle(event)))

    def tally(self, name: str, *labels: str) -> None:
        """Has a counter of ``app.metrics.outcomes`` count one more."""
        self.counted.append((name, *labels))

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int = SAME_PARTITION,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> None:
        """Headers whose name isn't UTF-8 (as in a record that is passed on) can't be produced, and are left out."""
        if headers:
            headers = [header for header in headers if _is_utf_8(header[0])]
        self.records.append(Produce(topic, key, value, partition, timestamp_ms, headers))

    def call(self, effect: Any) -> None:
        self.calls.append(effect)

    def mark(self) -> Mark:
        """Where a record's outputs begin, for ``rollback``."""
        return Mark(
            len(self.records),
            len(self.calls),
            self.moved,
            self.unknown,
            self.tokens_moved,
            self.size,
            len(self.counted),
            len(self.spans),
        )

    def rollback(self, mark: Mark) -> None:
        """Takes back what came after the mark."""
        del self.records[mark.records :]
        del self.calls[mark.calls :]
        del self.counted[mark.counted :]
        del self.spans[mark.spans :]
        self.moved, self.unknown, self.size = mark.moved, mark.unknown, mark.size
        self.tokens_moved = mark.tokens_moved


def _is_utf_8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
