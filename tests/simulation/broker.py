"""The log in memory: topics of partitions of records, what the groups committed, and compaction."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from app.domain.out import Produce
from tests import records


@dataclass(slots=True)
class Record(records.Record):
    """See ``app.ports.LogRecord``. ``landed``: when, in the loop's seconds, whatever the clocks say."""

    landed: float = 0.0


@dataclass(slots=True)
class _Partition:
    records: list[Record] = field(default_factory=list)
    end: int = 0


class Broker:
    """``clock``: Unix ms. ``loop_time``: seconds. ``everything``: every record that was ever appended, in order."""

    def __init__(self, clock: Callable[[], int], loop_time: Callable[[], float]) -> None:
        self._clock = clock
        self._loop_time = loop_time
        self._partitions: dict[tuple[str, int], _Partition] = {}
        self.everything: list[Record] = []
        #: The ends that the metrics of all processes counted, by their events' ids.
        self.counted: list[str] = []
        self.listeners: list[Callable[[str, int], None]] = []
        #: Whether a transaction's marker follows what was appended to a topic: an offset without a record.
        self.ends_transaction: Callable[[str], bool] = lambda topic: False

    def append(self, partition: int, record: Produce) -> int:
        held = self._partitions.setdefault((record.topic, partition), _Partition())
        stamp = self._clock() if record.timestamp_ms is None else record.timestamp_ms
        kept = Record(
            record.topic, partition, held.end, stamp, record.key, record.value, record.headers, self._loop_time()
        )
        held.records.append(kept)
        held.end += 2 if self.ends_transaction(record.topic) else 1
        self.everything.append(kept)
        for listener in self.listeners:
            listener(record.topic, partition)
        return kept.offset

    def end(self, topic: str, partition: int) -> int:
        held = self._partitions.get((topic, partition))
        return held.end if held is not None else 0

    def read(self, topic: str, partition: int, start: int, most: int) -> list[Record]:
        held = self._partitions.get((topic, partition))
        if held is None or start >= held.end:
            return []
        at = bisect_left(held.records, start, key=lambda record: record.offset)
        return held.records[at : at + most]

    def compact(self, topic: str, partition: int, before: float, chance: Random) -> None:
        """Keeps the latest record of each key of what landed before that moment, but for an active segment of some
        length."""
        held = self._partitions.get((topic, partition))
        if held is None:
            return
        old = bisect_left(held.records, before, key=lambda record: record.landed)
        cut = min(old, len(held.records) - chance.randint(1, max(1, len(held.records))))
        if cut < 2:
            return
        last = {record.key: record.offset for record in held.records[:cut]}
        kept = [record for record in held.records[:cut] if last[record.key] == record.offset]
        held.records = kept + held.records[cut:]

    def folded(self, topic: str, partition: int) -> dict[bytes, bytes]:
        """The rows that a compacted topic holds."""
        rows: dict[bytes, bytes] = {}
        for record in self.read(topic, partition, 0, 1 << 60):
            assert record.key is not None
            if record.value is None:
                rows.pop(record.key, None)
            else:
                rows[record.key] = record.value
        return rows

    def of(self, topic: str) -> Iterator[Record]:
        """Every record of a topic that was ever appended, in order of time."""
        return (record for record in self.everything if record.topic == topic)
