"""Consumers that read what was committed, whatever a broker holds, and whose position passes every hole in the log.

``position`` is how far a consumer is: it also passes transactions' markers, aborted records and what compaction took,
which no record shows.
"""

import asyncio
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, FetchResult

from app.kafka.batches import Pieces
from app.kafka.records import REST, TolerantRecords

#: What is read in one go of a partition: more than a batch may have that our topics take, so that a large one never
#: waits for a fetch that finds nothing else.
PARTITION_BYTES = 5 * 1024 * 1024


def _with(function: Any, **names: Any) -> Any:
    """The function with other meanings for some of its module's names."""
    made = FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


class Portions(FetchResult):  # type: ignore[misc]
    """aiokafka's records that wait to be taken, but where much has been unpacked the rest waits for another turn."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[Any]:
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        taken: list[Any] = []
        for record in self._partition_records.portion():
            if record is REST:
                break
            taken.append(record)
            if max_records is not None and len(taken) >= max_records:
                break
        else:
            self._update_position()
            self._partition_records = None
            return taken
        self._update_position()
        return taken


class LogFetcher(Fetcher):  # type: ignore[misc]
    """aiokafka's fetcher with our reader of batches, which also passes holes at the end of what may be read."""

    _fetch = _with(
        Fetcher._proc_fetch_request, MemoryRecords=Pieces, PartitionRecords=TolerantRecords, FetchResult=Portions
    )
    next_record: Callable[..., Any] = _with(Fetcher.next_record, FetchResult=Portions)
    fetched_records: Callable[..., Any] = _with(Fetcher.fetched_records, FetchResult=Portions)

    def __init__(self, *args: Any, **options: Any) -> None:
        self._silences: dict[TopicPartition, Silence] = {}
        super().__init__(*args, **options)

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> bool:
        asked = {
            TopicPartition(topic, number): offset
            for topic, partitions in request.topics
            for number, offset, _ in partitions
        }
        states = {tp: assignment.state_value(tp) for tp in asked}
        answered_at = {tp: state.timestamp for tp, state in states.items()}
        if await self._fetch(assignment, node_id, request):
            for tp in asked:
                self._silences.pop(tp, None)
            return True
        found = False
        for tp, state in states.items():
            if state.timestamp != answered_at[tp] and assignment.active:
                found = self._note_empty_answer(tp, state, asked[tp], assignment) or found
        return found

    def _note_empty_answer(self, tp: TopicPartition, state: Any, offset: int, assignment: Any) -> bool:
        """An answer that held no record of any partition. Where this partition should have some, they are gone."""
        end = state.lso if self._isolation_level == READ_COMMITTED else state.highwater
        if not state.has_valid_position or state.position != offset or end is None or end <= offset:
            self._silences.pop(tp, None)
            return False
        silence = self._silences.get(tp)
        if silence is None or silence.offset != offset:
            silence = self._silences[tp] = Silence(offset, self._loop.time())
        if not silence.goes_on(self._loop.time()):
            return False
        del self._silences[tp]
        self._records[tp] = Portions(
            tp, assignment=assignment, partition_records=Hole(offset, end), backoff=self._prefetch_backoff
        )
        return True


class Silence:
    """Answers without a record though the log goes on, one after the other. A broker that is away, slow or cut off says
    nothing of the log, so only answers count; and several of them, over a while."""

    ANSWERS = 3
    LEAST_S = 5.0

    def __init__(self, offset: int, since: float) -> None:
        self.offset = offset
        self._since = since
        self._answers = 0

    def goes_on(self, now: float) -> bool:
        """Counts one more answer; whether it is certain now that nothing is left."""
        self._answers += 1
        return self._answers >= self.ANSWERS and now - self._since >= self.LEAST_S


class Hole:
    """In place of records: there are none from here up to the end."""

    def __init__(self, offset: int, end: int) -> None:
        self.next_fetch_offset = offset
        self._end = end

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.next_fetch_offset = self._end
        raise StopIteration

    def portion(self) -> Iterator[Any]:
        return self


class LogConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """Reads what was committed, unless it is told otherwise."""

    start: Callable[..., Any] = _with(AIOKafkaConsumer.start, Fetcher=LogFetcher)

    def __init__(self, *topics: str, **options: Any) -> None:
        defaults = {
            "isolation_level": "read_committed",
            "enable_auto_commit": False,
            "max_partition_fetch_bytes": PARTITION_BYTES,
        }
        super().__init__(*topics, **(defaults | options))

    async def stop(self) -> None:
        """Also one that was only just started: aiokafka cancels its tasks and awaits them, and a task that never had a
        turn doesn't take that for its end, but cancels whoever awaits it."""
        await asyncio.sleep(0)
        await super().stop()


def adopt(consumer: AIOKafkaConsumer) -> AIOKafkaConsumer:
    """Makes a consumer that somebody else built, and didn't start yet, one of ours."""
    consumer.__class__ = LogConsumer
    consumer._isolation_level = "read_committed"
    consumer._max_partition_fetch_bytes = max(consumer._max_partition_fetch_bytes, PARTITION_BYTES)
    return consumer
