"""Reading spans of the log: all of each comes, once and in order, and nothing is fetched where nothing is left."""

from typing import Any, NamedTuple

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from app.kafka.reading import read_spans


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int


class Consumer:
    """Partitions with holes, of which a few records come at a time; what is fetched is noted."""

    def __init__(self, log: dict[TopicPartition, list[int]]) -> None:
        self._log = log
        self._at: dict[TopicPartition, int] = {}
        self.fetching: set[TopicPartition] = set()

    def assignment(self) -> set[TopicPartition]:
        return set(self._at)

    def assign(self, places: list[TopicPartition]) -> None:
        self._at = dict.fromkeys(places, 0)
        self.fetching = set(places)

    def seek(self, place: TopicPartition, offset: int) -> None:
        self._at[place] = offset

    def pause(self, *places: TopicPartition) -> None:
        self.fetching -= set(places)

    def resume(self, *places: TopicPartition) -> None:
        self.fetching |= set(places)

    async def position(self, place: TopicPartition) -> int:
        return self._at[place]

    async def getmany(self, *places: TopicPartition, timeout_ms: int, max_records: int) -> dict[Any, list[Record]]:
        assert set(places) == self.fetching  # whatever else is fetched would hold these up
        found = {}
        for place in places:
            here = [offset for offset in self._log[place] if offset >= self._at[place]][: min(2, max_records)]
            self._at[place] = here[-1] + 1 if here else 1 << 40  # (a hole at the end is passed)
            found[place] = [Record(place.topic, place.partition, offset) for offset in here]
        return found


_PLACES = [TopicPartition("t", number) for number in range(3)]
_SPANS = st.dictionaries(st.sampled_from(_PLACES), st.tuples(st.integers(0, 20), st.integers(0, 20)))


@given(st.fixed_dictionaries({place: st.sets(st.integers(0, 20)) for place in _PLACES}), st.lists(_SPANS, max_size=3))
async def test_each_span_is_read_once_in_order_and_nothing_else_is_fetched(
    offsets: dict[TopicPartition, set[int]], wanted: list[dict[TopicPartition, tuple[int, int]]]
) -> None:
    consumer: Any = Consumer({place: sorted(each) for place, each in offsets.items()})
    for spans in wanted:
        read = [record async for records in read_spans(consumer, spans) for record in records]

        for place in _PLACES:
            start, end = spans.get(place, (0, 0))
            mine = [record.offset for record in read if record.partition == place.partition]
            assert mine == [offset for offset in sorted(offsets[place]) if start <= offset < end]
        assert consumer.fetching == set()
