"""Fetched records of one partition that wait to be processed, one buffer for each subscription."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.kafka.records import Unreadable
from app.ports import LogRecord, Subscription
from app.streaming.end_offsets import EndOffset
from schemas.sizes import MIB


@dataclass(frozen=True, slots=True)
class Fetch:
    """What was fetched of one partition of a topic: all that the log has from ``start`` up to ``position``, which may
    be nothing. Offsets without a record are transactions' markers, aborted records, or what compaction took.

    ``end_offset``: what the fetch reported of the end of the commands in their partition; ``generation``: the group's.
    """

    topic: str
    partition: int
    records: Sequence[LogRecord]
    start: int
    position: int
    end_offset: EndOffset | None = None
    generation: int = 0


@dataclass(slots=True)
class Buffer:
    """One topic's waiting records. ``fetched`` counts fetches, so that a later question can cover earlier records."""

    subscription: Subscription
    waiting: deque[tuple[int, LogRecord]] = field(default_factory=deque)
    #: The next offset to handle; None until the first fetch shows it.
    position: int | None = None
    #: The next offset to be fetched; None until the first fetch shows it. And where a fetch began that left something
    #: out before it, as long as that is fetched again.
    expected: int | None = None
    beyond_gap: int | None = None
    paused: bool = False
    #: When the oldest that waits came, Unix ms.
    since: int = 0

    #: A position at which it was seen to be behind the log's end with nothing to handle, and since when, Unix ms.
    held: tuple[int, int] | None = None
    #: How many bytes of records wait.
    bytes: int = 0

    def waits_since(self, end: int | None, now: int) -> int | None:
        """The time of the oldest record that isn't handled, Unix ms, or since when there is one; None: all is handled.
        To be asked now and then."""
        if self.waiting:
            time = self.waiting[0][1].timestamp
            return time if 0 <= time <= now else self.since
        if end is None or self.position is None or end <= self.position:
            self.held = None
            return None
        if self.held is None or self.held[0] != self.position:
            self.held = (self.position, now)
        return self.held[1]

    @property
    def is_full(self) -> bool:
        return len(self.waiting) > FetchBuffers.HIGH or self.bytes > FetchBuffers.HIGH_BYTES

    @property
    def has_room(self) -> bool:
        return len(self.waiting) < FetchBuffers.LOW and self.bytes < FetchBuffers.LOW_BYTES

    def behind(self, end: int | None) -> int:
        """How many records aren't handled yet. ``end``: the topic's latest known end in this partition."""
        waiting = len(self.waiting)
        if end is None or self.position is None:
            return waiting
        return max(waiting, end - self.position)


class FetchBuffers:
    """The lanes of one partition, most urgent first."""

    #: A lane that holds more is paused, and resumed when half of it is gone.
    HIGH = 8_000
    LOW = 4_000
    #: The same in bytes: a record may have 4 MiB, and all partitions of a process share its memory.
    HIGH_BYTES = 8 * MIB
    LOW_BYTES = 4 * MIB
    #: What is patient is taken with what comes next, or when it is so old, in ms: a checkpoint for each receipt alone
    #: would cost as much as the one for its notification.
    PATIENCE_MS = 50

    def __init__(self, subscriptions: Sequence[Subscription], positions: Mapping[str, int]) -> None:
        self.buffers: dict[str, Buffer] = {
            i.topic: Buffer(i, position=positions.get(i.topic), expected=positions.get(i.topic))
            for i in sorted(subscriptions, key=lambda i: i.urgency)
        }
        self._fetches = 0

    def offer(self, fetched: Fetch, now: int) -> int | None:
        """Takes what was fetched (``now``: Unix ms); what has been handled already is dropped when its turn comes.

        Returns where to fetch from again, if offsets are missing before it: a client may drop what it fetched around a
        rebalance. If they are missing again, the log no longer has them (retention took them).
        """
        buffer, start = self.buffers[fetched.topic], fetched.start
        if buffer.expected is not None and start > buffer.expected and start != buffer.beyond_gap:
            buffer.beyond_gap = start
            return buffer.expected
        buffer.beyond_gap = None
        buffer.expected = max(buffer.expected or 0, fetched.position)
        if fetched.records:
            self._fetches += 1
            number = self._fetches
            buffer.since = buffer.since if buffer.waiting else now
            buffer.waiting.extend((number, record) for record in fetched.records)
            buffer.bytes += sum(map(_bytes_of, fetched.records))
        elif not buffer.waiting:
            buffer.position = buffer.expected
        return None

    @property
    def fetches(self) -> int:
        """The number of the latest fetch."""
        return self._fetches

    def due_ms(self, now: int) -> int | None:
        """When it is time to take what waits, Unix ms (0: at once); None: nothing waits."""
        due: int | None = None
        for buffer in self.buffers.values():
            if buffer.waiting:
                if not buffer.subscription.patient:
                    return 0
                due = buffer.since + self.PATIENCE_MS if buffer.since <= now else 0  # (0: the clock was set back)
        return due

    def gated_wait(self) -> bool:
        return any(buffer.waiting and buffer.subscription.gated for buffer in self.buffers.values())

    def positions(self) -> dict[str, int]:
        return {topic: buffer.position for topic, buffer in self.buffers.items() if buffer.position is not None}

    def take(self, buffer: Buffer, through_fetch: int | None) -> LogRecord | None:
        """The lane's next record that is new; None where there is none (or none fetched up to ``through_fetch``)."""
        waiting = buffer.waiting
        while waiting:
            number, record = waiting[0]
            if through_fetch is not None and number > through_fetch:
                return None
            waiting.popleft()
            buffer.bytes -= _bytes_of(record)
            is_new = buffer.position is None or record.offset >= buffer.position
            if not waiting:
                buffer.position = buffer.expected  # (what lies between has no records)
            elif is_new:
                buffer.position = _after(record)
            if is_new:
                return record
        return None


def _bytes_of(record: LogRecord) -> int:
    size = len(record.value or b"") + len(record.key or b"")
    if record.headers:
        size += sum(len(name) + len(text or b"") for name, text in record.headers)
    return size


def _after(record: LogRecord) -> int:
    return record.next_offset if record.value is None and isinstance(record, Unreadable) else record.offset + 1
