"""Following a small topic of one partition from its start, without a group: what every process knows by heart."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from app.failures import RateLimitedLog
from app.kafka.consumers import LogConsumer
from app.ports import Guard, LogRecord, Unguarded

log = structlog.get_logger(__name__)

_POLL_MS = 1000
_BACKOFF_S = 1.0
_ATTEMPTS = 10


async def _nothing() -> None:
    pass


class TopicFollower:
    """Hands every record of a topic to ``take``, in order, from the start; all over again after a failed read. A record
    that ``take`` can't take is passed over, as is one that has ended process after process (``guard``).

    ``settle`` is awaited after each read, before anybody is told that it has got so far.
    """

    def __init__(
        self,
        client_options: Mapping[str, Any],
        topic: str,
        take: Callable[[LogRecord], None],
        settle: Callable[[], Awaitable[None]] = _nothing,
        guard: Guard | None = None,
    ) -> None:
        self._options = client_options
        self._topic = topic
        self._partition = TopicPartition(topic, 0)
        self._take = take
        self._settle = settle
        self._guard = guard or Unguarded()
        self._failures = RateLimitedLog()
        self._task: asyncio.Task[None] | None = None
        self._position = 0
        self._moved = asyncio.Condition()

    async def start(self) -> None:
        """Returns when everything that was in the topic has been taken. Raises KafkaError when the broker can't be
        asked for a while (it may just be starting), LookupError where there is no such topic."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                consumer = await self._caught_up()
            except KafkaError:
                if attempt == _ATTEMPTS:
                    raise
                await asyncio.sleep(_BACKOFF_S)
            else:
                self._task = asyncio.create_task(self._follow(consumer), name=f"follow {self._topic}")
                return

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def reached(self, offset: int, *, timeout_s: float = 15.0) -> None:
        """Returns when the record at that offset has been taken. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._moved:
            await self._moved.wait_for(lambda: self._position > offset)

    async def _caught_up(self) -> LogConsumer:
        consumer = await self._open()
        try:
            end = (await consumer.end_offsets([self._partition]))[self._partition]
            while self._position < end:
                await self._poll(consumer)
        except BaseException:
            await consumer.stop()
            raise
        return consumer

    async def _open(self) -> LogConsumer:
        consumer = LogConsumer(**self._options, group_id=None, auto_offset_reset="earliest")
        await consumer.start()
        try:
            if self._topic not in await consumer.topics():
                raise LookupError(f"topic {self._topic} is missing: run `tocsin topics apply`")
            consumer.assign([self._partition])
            await consumer.seek_to_beginning()
        except BaseException:
            await consumer.stop()
            raise
        return consumer

    async def _poll(self, consumer: LogConsumer) -> None:
        fetched = await consumer.getmany(timeout_ms=_POLL_MS)
        for records in fetched.values():
            for record in records:
                self.hand_over(record)
        if fetched:
            await self.settle()
        async with self._moved:
            self._position = await consumer.position(self._partition)
            self._moved.notify_all()

    def hand_over(self, record: LogRecord) -> None:
        """Whatever a record holds, it harms nobody who follows."""
        try:
            self._guard.record(record)
            self._take(record)
        except Exception as error:
            self._log("a record was passed over", error, offset=record.offset)
        finally:
            self._guard.end()

    async def settle(self) -> None:
        """The same for what all records together come to: what was there before stays."""
        try:
            await self._settle()
        except Exception as error:
            self._log("what was read is not taken over", error)

    def _log(self, event: str, error: Exception, **where: Any) -> None:
        self._failures.log(event, error, time.time_ns() // 1_000_000, topic=self._topic, **where)

    async def _follow(self, consumer: LogConsumer | None) -> None:
        while True:
            try:
                consumer = consumer or await self._open()
                while True:
                    await self._poll(consumer)
            except (KafkaError, LookupError) as error:
                log.warning("reading the topic again from its start", topic=self._topic, error=type(error).__name__)
            except Exception:  # whoever follows relies on it for as long as the process runs
                log.exception("reading the topic again from its start", topic=self._topic)
            finally:
                await self._stop(consumer)
                consumer = None
            await asyncio.sleep(_BACKOFF_S)

    async def _stop(self, consumer: LogConsumer | None) -> None:
        try:
            if consumer is not None:
                await consumer.stop()
        except Exception as error:
            log.warning("a consumer didn't stop as it should", topic=self._topic, error=repr(error))
