"""What was fetched for one partition and waits to be handled, by urgency."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.ports import Intake, LogRecord, Urgency


@dataclass(slots=True)
class Lane:
    """One topic's waiting records. ``fetched`` counts fetches, so that a later question can cover earlier records."""

    intake: Intake
    waiting: deque[tuple[int, LogRecord]] = field(default_factory=deque)
    #: The next offset to handle; None until the first record shows it.
    position: int | None = None
    #: The next offset to be fetched; None until the first record shows it. And the first record of a fetch that left
    #: something out before it, as long as that is fetched again.
    expected: int | None = None
    beyond_gap: int | None = None
    paused: bool = False
    #: When the oldest that waits came, Unix ms.
    since: int = 0

    def behind(self, end: int | None) -> int:
        """How many records aren't handled yet. ``end``: the topic's end in this partition, as it was last heard of."""
        waiting = len(self.waiting)
        if end is None or self.position is None:
            return waiting
        return max(waiting, end - self.position)


class Intakes:
    """The lanes of one partition, most urgent first."""

    #: A lane that holds more is paused, and resumed when half of it is gone.
    HIGH = 8_000
    LOW = 4_000
    #: Nobody waits for what receipts say: they are taken with what comes next, or when they are so old, in ms. A
    #: checkpoint for each alone would cost as much as the one for its notification.
    PATIENCE_MS = 50

    def __init__(self, intakes: Sequence[Intake], positions: Mapping[str, int]) -> None:
        self.lanes: dict[str, Lane] = {
            i.topic: Lane(i, position=positions.get(i.topic), expected=positions.get(i.topic))
            for i in sorted(intakes, key=lambda i: i.urgency)
        }
        self._fetches = 0

    def offer(self, topic: str, records: Sequence[LogRecord], now: int) -> int | None:
        """Takes what was fetched (``now``: Unix ms); what has been handled already is dropped when its turn comes.

        Returns where to fetch from again, if offsets are missing before these records: a client may drop what it
        fetched around a rebalance. If they are missing again, the log has no records there (a transaction's markers).
        """
        lane, first = self.lanes[topic], records[0].offset
        if lane.expected is not None and first > lane.expected and first != lane.beyond_gap:
            lane.beyond_gap = first
            return lane.expected
        lane.beyond_gap = None
        lane.expected = max(lane.expected or 0, records[-1].offset + 1)
        self._fetches += 1
        number = self._fetches
        lane.since = lane.since if lane.waiting else now
        lane.waiting.extend((number, record) for record in records)
        return None

    @property
    def fetches(self) -> int:
        """The number of the latest fetch."""
        return self._fetches

    def due_ms(self, now: int) -> int | None:
        """When it is time to take what waits, Unix ms (0: at once); None: nothing waits."""
        due: int | None = None
        for lane in self.lanes.values():
            if lane.waiting:
                if lane.intake.urgency is not Urgency.RECEIPTS:
                    return 0
                due = lane.since + self.PATIENCE_MS if lane.since <= now else 0  # (0: the clock was set back)
        return due

    def gated_wait(self) -> bool:
        return any(lane.waiting and lane.intake.gated for lane in self.lanes.values())

    def positions(self) -> dict[str, int]:
        return {topic: lane.position for topic, lane in self.lanes.items() if lane.position is not None}

    def take(self, lane: Lane, through_fetch: int | None) -> LogRecord | None:
        """The lane's next record that is new; None where there is none (or none fetched up to ``through_fetch``)."""
        waiting = lane.waiting
        while waiting:
            number, record = waiting[0]
            if through_fetch is not None and number > through_fetch:
                return None
            waiting.popleft()
            if lane.position is None or record.offset >= lane.position:
                lane.position = record.offset + 1
                return record
        return None
