"""Following ``tocsin_inbox_changes``: what gateways take of changed inboxes and of claimed tickets, as it comes."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from app.failures import RateLimitedLog
from app.kafka.consumers import LogConsumer
from app.ports import Guard, LogRecord, Unguarded
from schemas.decode import Invalid
from schemas.inbox_changes import InboxChange, TicketClaim, read_inbox_record
from schemas.topics import INBOX_CHANGES

log = structlog.get_logger(__name__)

_POLL_MS = 1000
_BACKOFF_S = 1.0
_ATTEMPTS = 10
_STOP_S = 10.0
#: After so long without an answer for one of the partitions, its changes may go on unheard.
_SILENT_S = 30.0
#: How often that is looked at.
_LOOK_S = 5.0
#: Records are small, and somebody waits for each.
_MOST_RECORDS = 500


class Follows(Protocol):
    """Whoever wants to know. What comes may have come before."""

    def wants(self, user_id: bytes) -> bool:
        """Whether changes of this user's inbox are to be read at all."""
        ...

    def take_change(self, change: InboxChange) -> None: ...

    def take_claim(self, claim: TicketClaim) -> None: ...

    def lost(self) -> None:
        """Some changes may never come."""
        ...


class InboxFollower:
    """From ``since_ms`` before it starts, all ``partitions``. A record that can't be taken is passed over, as is one
    that has ended process after process (``guard``). ``clock``: Unix milliseconds."""

    def __init__(
        self,
        client_options: Mapping[str, Any],
        follows: Follows,
        clock: Callable[[], int],
        *,
        partitions: int,
        since_ms: int,
        guard: Guard | None = None,
    ) -> None:
        self._options = client_options
        self._follows = follows
        self._clock = clock
        self._partitions = partitions
        self._since_ms = since_ms
        self._guard = guard or Unguarded()
        self._failures = RateLimitedLog()
        self._positions: dict[TopicPartition, int] = {}
        #: Of each partition, what a consumer says of its latest answer, and when that was new here.
        self._heard: dict[TopicPartition, tuple[int | None, float]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns when it has come to the end of the topic. Raises KafkaError when the broker can't be asked for a
        while, LookupError where there is no such topic."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                consumer = await self._open()
            except KafkaError:
                if attempt == _ATTEMPTS:
                    raise
                await asyncio.sleep(_BACKOFF_S)
            else:
                try:
                    await self._catch_up(consumer)
                except BaseException:
                    await self._stop(consumer)
                    raise
                self._tasks = [
                    asyncio.create_task(self._follow(consumer), name=f"follow {INBOX_CHANGES}"),
                    asyncio.create_task(self._watch(), name=f"watch {INBOX_CHANGES}"),
                ]
                return

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _open(self) -> LogConsumer:
        """Where it was, or at its beginning."""
        consumer = LogConsumer(**self._options, group_id=None, auto_offset_reset="earliest")
        await consumer.start()
        try:
            if INBOX_CHANGES not in await consumer.topics():
                raise LookupError(f"topic {INBOX_CHANGES} is missing: run `tocsin topics apply`")
            partitions = [TopicPartition(INBOX_CHANGES, partition) for partition in range(self._partitions)]
            consumer.assign(partitions)
            for tp in partitions:
                self._heard.setdefault(tp, (None, asyncio.get_running_loop().time()))
            if not self._positions:
                self._positions = await self._beginning(consumer, partitions)
            first = await consumer.beginning_offsets(partitions)
            if any(self._positions.get(tp, 0) < first[tp] for tp in partitions):
                self._follows.lost()
            for tp in partitions:
                consumer.seek(tp, max(self._positions.get(tp, 0), first[tp]))
        except BaseException:
            await self._stop(consumer)
            raise
        return consumer

    async def _stop(self, consumer: LogConsumer) -> None:
        """Whatever comes of it, following goes on."""
        try:
            async with asyncio.timeout(_STOP_S):
                await consumer.stop()
        except Exception as error:
            self._log("a consumer didn't stop", error)

    async def _beginning(self, consumer: LogConsumer, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        since = self._clock() - self._since_ms
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, since))
        ends = await consumer.end_offsets(partitions)
        return {tp: ends[tp] if found.get(tp) is None else found[tp].offset for tp in partitions}

    async def _catch_up(self, consumer: LogConsumer) -> None:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any(self._positions[tp] < end for tp, end in ends.items()):
            await self._poll(consumer)

    async def _poll(self, consumer: LogConsumer) -> None:
        fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)
        for records in fetched.values():
            for record in records:
                self.hand_over(record)
        for tp in consumer.assignment():
            self._positions[tp] = await consumer.position(tp)
            answered = consumer.last_poll_timestamp(tp)
            if answered is not None and answered != self._heard[tp][0]:
                self._heard[tp] = answered, asyncio.get_running_loop().time()

    def hand_over(self, record: LogRecord) -> None:
        """Whatever a record holds, it harms nobody who follows."""
        try:
            self._guard.record(record)
            self._take(record)
        except Exception as error:
            self._log("a record was passed over", error, offset=record.offset)
        finally:
            self._guard.end()

    def _take(self, record: LogRecord) -> None:
        if record.value is None or record.key is None:
            return
        is_claim = b'"type":"claim"' in record.value[:_TYPE_BYTES]
        if not is_claim and not self._follows.wants(record.key):
            return  # most users aren't looking: their records aren't even read
        read = read_inbox_record(record.value)
        if read.user_id.encode() != record.key:
            raise Invalid("is not the record's key", "user_id")
        if isinstance(read, TicketClaim):
            self._follows.take_claim(read)
        else:
            self._follows.take_change(read)

    def _log(self, event: str, error: Exception, **where: Any) -> None:
        self._failures.log(event, error, time.time_ns() // 1_000_000, topic=INBOX_CHANGES, **where)

    async def _follow(self, consumer: LogConsumer | None) -> None:
        while True:
            try:
                consumer = consumer or await self._open()
                while True:
                    await self._poll(consumer)
            except (KafkaError, LookupError) as error:
                log.warning("following inboxes again where they were", error=type(error).__name__)
            except Exception as error:
                self._log("following inboxes again where they were", error)
            finally:
                if consumer is not None:
                    await self._stop(consumer)
                    consumer = None
            await asyncio.sleep(_BACKOFF_S)

    async def _watch(self) -> None:
        """A consumer that is cut off finds nothing, and says nothing of it: whoever follows has to hear that."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self._look(asyncio.get_running_loop().time())

    def _look(self, now: float) -> None:
        if any(now - at > _SILENT_S for _, at in self._heard.values()):
            log.warning("inboxes aren't heard of: Kafka doesn't answer")
            self._follows.lost()
            self._heard = {tp: (answered, now) for tp, (answered, _) in self._heard.items()}


#: Of a record, in which its type stands: the encoder writes it first.
_TYPE_BYTES = 32
