"""Carries lifecycle events from Kafka into ClickHouse; offsets are committed when the rows are in."""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError
from clickhouse_connect.driver import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.kafka.consumers import LogConsumer
from app.metrics import DeadLetters, LogLag
from app.ports import Guard, Publisher
from app.store.clickhouse import Unavailable
from app.store.lifecycle_rows import COLUMNS, Hides, Row, batch_token, by_day, failure, nobody, read_rows
from app.store.publisher import PublishError
from schemas import topics
from schemas.dead import dead_key, dead_letter, encode_dead

log = structlog.get_logger(__name__)

ROLE = "analytics"
GROUP = f"tocsin_{ROLE}"

#: With the states that are made of it an insert costs much by itself: five tables get a part each. So batches are large
#: where much waits (docs/performance.md#the-analytics-role); larger ones take more memory.
MAX_ROWS = 25_000
#: Each day of an insert is a part of its own. Only reading the log anew brings more days than this at once.
MAX_DAYS = 50
#: From one insert to the next: each costs about 70 ms of CPU, however few rows it has, and makes parts to merge. The
#: first record after a pause doesn't wait.
GATHER_S = 1.0
#: A commit that takes longer ends the process, which is started again.
COMMIT_S = 90.0
_POLL_S = 0.2
#: Raised where a value doesn't fit its column, while the client writes its block.
_OF_A_ROW = (DataError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error)
_PARTITION, _OFFSET = COLUMNS.index("topic_partition"), COLUMNS.index("topic_offset")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0

Batch = Mapping[TopicPartition, Sequence[ConsumerRecord]]


class SinkMetrics:
    """What an operator wants to see of the sink."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._dead = DeadLetters(registry, ROLE, (topics.LIFECYCLE,))
        self._registry = registry
        empty = Counter("tocsin_records_without_value", "Records skipped", ["role"], registry=registry)
        self.empty = empty.labels(ROLE)
        self.rows = Counter("tocsin_analytics_rows", "Rows inserted into ClickHouse", registry=registry)
        self.retries = Counter("tocsin_analytics_retries", "Attempts at a batch that failed", registry=registry)
        self.insert_seconds = Histogram("tocsin_analytics_insert_seconds", "Duration of an insert", registry=registry)
        self.lag = Gauge("tocsin_analytics_lag", "Records not yet in ClickHouse", registry=registry)

    def dead(self, topic: str, code: str) -> None:
        self._dead.count(topic, code)

    def watch(self, lags: Callable[[], Mapping[tuple[str, int], tuple[int, float]]]) -> None:
        """``lags``: of each partition read, how many records aren't in ClickHouse, and the age of the oldest in s."""
        LogLag(self._registry, ROLE, lags)


class LifecycleSink:
    """One consumer of the group. ``connect`` returns a client of a ClickHouse whose schema is in place."""

    def __init__(
        self,
        consumer_options: Mapping[str, Any],
        connect: Callable[[], Awaitable[AsyncClient]],
        publisher: Publisher,
        metrics: SinkMetrics,
        *,
        instance: str,
        now_ms: Callable[[], int],
        topic: str = topics.LIFECYCLE,
        dead_topic: str = topics.DEAD,
        group: str = GROUP,
        hides: Hides = nobody,
        guard: Guard | None = None,
    ) -> None:
        """``hides``: of which users only the pseudonymous id may be kept. ``guard``: see ``read_rows``."""
        self._consumer = LogConsumer(
            topic,
            **consumer_options,
            group_id=group,
            client_id=GROUP,
            # So that a restart takes up its partitions at once, without waiting for the dead member's session to end.
            group_instance_id=f"{ROLE}-{instance}",
            auto_offset_reset="earliest",
            # ClickHouse may be away for long; the group's heartbeat shows that we are alive.
            max_poll_interval_ms=24 * 3600 * 1000,
        )
        self._connect = connect
        self._publisher = publisher
        self._metrics = metrics
        self._now_ms = now_ms
        self._topic = topic
        self._dead_topic = dead_topic
        self._hides = hides
        self._guard = guard
        self._client: AsyncClient | None = None
        self._committed: dict[TopicPartition, int] = {}
        #: On the loop's clock.
        self._next_insert_at = 0.0
        #: Of each partition, the time of the oldest record in hand that isn't in ClickHouse, Unix ms.
        self._in_hand: dict[TopicPartition, int] = {}
        #: Of each partition that is behind, the position at which it was first seen there, and when, Unix ms.
        self._behind_since: dict[TopicPartition, tuple[int, int]] = {}
        metrics.watch(self.lags)

    def lags(self) -> dict[tuple[str, int], tuple[int, float]]:
        """Of each partition that it reads, how many records aren't in ClickHouse, and the age of the oldest in s."""
        now, lags = self._now_ms(), {}
        for at in self._consumer.assignment():
            end = self._consumer.highwater(at)
            done = self._committed.get(at)
            if end is None or done is None:
                continue
            count = max(0, end - done)
            if not count:
                self._behind_since.pop(at, None)
            elif self._behind_since.get(at, (-1, 0))[0] != done:
                self._behind_since[at] = (done, now)
            since = self._in_hand.get(at, self._behind_since.get(at, (0, now))[1])
            lags[at.topic, at.partition] = (count, max(0, now - since) / 1000 if count else 0.0)
        return lags

    def is_first(self) -> bool:
        """Whether it reads the first partition, as one consumer of the group does, which does what one has to do."""
        return any(at.partition == 0 for at in self._consumer.assignment())

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Until ``stop``; ``ready`` is called when ClickHouse and Kafka are connected.

        A ClickHouse that is away is waited for, with nothing committed meanwhile. Raises KafkaError.
        """
        try:
            await self._persist("connect", self._connected, stop)
            await self._consumer.start()
            ready()
            while not stop.is_set():
                batch = await self._gather()
                if not batch or await self._persist("insert", partial(self._settle, batch), stop):
                    await self._commit(batch)
        finally:
            await self._consumer.stop()
            await self._disconnect()

    async def _gather(self) -> Batch:
        clock = asyncio.get_running_loop().time
        batch: dict[TopicPartition, list[ConsumerRecord]] = {}
        count, until = 0, clock() + _POLL_S
        while count < MAX_ROWS and (left := until - clock()) > 0:
            fetched = await self._consumer.getmany(timeout_ms=int(left * 1000) + 1, max_records=MAX_ROWS - count)
            if fetched and not batch:
                until = self._next_insert_at
            for partition, records in fetched.items():
                batch.setdefault(partition, []).extend(records)
                count += len(records)
        if batch:
            self._next_insert_at = clock() + GATHER_S
            self._in_hand = {at: records[0].timestamp for at, records in batch.items()}
        return batch

    async def _persist(self, action: str, attempt: Callable[[], Awaitable[object]], stop: asyncio.Event) -> bool:
        """Tries until it works; False: ``stop`` came first."""
        pause = _FIRST_PAUSE_S
        while not stop.is_set():
            try:
                await attempt()
                return True
            except (Unavailable, ClickHouseError, PublishError) as error:
                self._metrics.retries.inc()
                log.warning(
                    "failed, will be retried",
                    formerly="tried in vain",
                    action=action,
                    again_in_s=pause,
                    error=str(error)[:500],
                )
                await self._disconnect()
            await _wait(stop, pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        return False

    async def _settle(self, batch: Batch) -> None:
        rows, refused, empty = read_rows(chain.from_iterable(batch.values()), self._hides, self._guard)
        if rows:
            token = batch_token(self._topic, [(part[0], part[-1]) for part in batch.values()])
            for number, some in enumerate(by_day(rows, MAX_DAYS)):
                for row, unfit in await self._insert_apart(some, f"{token} {number}" if number else token):
                    refused.append((_record_of(row, batch), failure(unfit)))
        # Last, as an insert that is tried again is dropped by its token, a second dead letter is not.
        for record, error in refused:
            letter = dead_letter(record, error.code, error.reason, error.field, ROLE, self._now_ms())
            await self._publisher.publish(self._dead_topic, dead_key(letter), encode_dead(letter))
            self._metrics.dead(record.topic, error.code)
            log.warning("dead letter", partition=record.partition, offset=record.offset, reason=error.reason)
        self._metrics.rows.inc(len(rows))
        self._metrics.empty.inc(empty)

    async def _insert_apart(self, rows: list[Row], token: str) -> list[tuple[Row, Exception]]:
        """Inserts the rows; where one of them can't be written at all, in ever smaller parts. Returns those that can't,
        each with why. What fails though ClickHouse doesn't answer says nothing of the rows: it is raised."""
        try:
            await self._insert(rows, token)
        except _OF_A_ROW as error:
            await (await self._connected()).command("SELECT 1")
            if len(rows) == 1:
                log.error("a row can't be written", error=type(error).__name__)
                return [(rows[0], error)]
            half = len(rows) // 2
            first = await self._insert_apart(rows[:half], f"{token} <")
            return first + await self._insert_apart(rows[half:], f"{token} >")
        return []

    async def _insert(self, rows: list[Row], token: str) -> None:
        client = await self._connected()
        with self._metrics.insert_seconds.time():
            await client.insert(
                "notify.lifecycle",
                list(zip(*rows, strict=True)),
                column_names=COLUMNS,
                column_oriented=True,
                settings={
                    "insert_deduplication_token": token,
                    # A process may end between the rows and the states that are kept of them.
                    "deduplicate_blocks_in_dependent_materialized_views": 1,
                    "max_partitions_per_insert_block": MAX_DAYS,
                },
            )

    async def _commit(self, batch: Batch) -> None:
        """Up to the positions, which also pass what no record shows: a transaction's marker, say."""
        try:
            async with asyncio.timeout(COMMIT_S):
                await self._commit_positions(batch)
        except TimeoutError as error:
            # (After an outage aiokafka may wait for metadata that never come; a new client doesn't.)
            raise KafkaTimeoutError(f"offsets were not committed for {COMMIT_S:.0f} s") from error
        except KafkaError as error:
            # The rows are in; whoever reads these records again writes the same events.
            log.warning("offsets not committed", error=type(error).__name__)

    async def _commit_positions(self, batch: Batch) -> None:
        lag, positions = 0, {}
        for at in self._consumer.assignment():
            if (end := self._consumer.highwater(at)) is not None:
                positions[at] = await self._consumer.position(at)
                lag += max(0, end - positions[at])
        for at, records in batch.items():
            positions[at] = max(records[-1].offset + 1, positions.get(at, 0))
        if todo := {at: to for at, to in positions.items() if self._committed.get(at) != to}:
            await self._consumer.commit(todo)
            self._committed |= todo
        self._in_hand = {}
        self._metrics.lag.set(lag)

    async def _connected(self) -> AsyncClient:
        if self._client is None:
            self._client = await self._connect()
        return self._client

    async def _disconnect(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()


def _record_of(row: Row, batch: Batch) -> ConsumerRecord:
    partition, offset = row[_PARTITION], row[_OFFSET]
    return next(r for records in batch.values() for r in records if (r.partition, r.offset) == (partition, offset))


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
