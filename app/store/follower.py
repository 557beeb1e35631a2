"""Following a topic without a group, as long as the process runs: what every process has to know."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
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
_STOP_S = 10.0


async def _nothing() -> None:
    pass


class Follower(ABC):
    """Reads a topic to its end, then goes on reading; after a failed read with another consumer. A record that can't be
    taken is passed over, as is one that has ended process after process (``guard``)."""

    #: Logged when it begins again.
    again = "reading the topic again"

    def __init__(self, client_options: Mapping[str, Any], topic: str, guard: Guard | None) -> None:
        self._options = client_options
        self._topic = topic
        self._guard = guard or Unguarded()
        self._failures = RateLimitedLog()
        self._tasks: list[asyncio.Task[None]] = []

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
                self._tasks = [
                    asyncio.create_task(duty, name=f"follow {self._topic}") for duty in self._duties(consumer)
                ]
                return

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hand_over(self, record: LogRecord) -> None:
        """Whatever a record holds, it harms nobody who follows."""
        try:
            self._guard.record(record)
            self._take(record)
        except Exception as error:
            self._log("a record was passed over", error, offset=record.offset)
        finally:
            self._guard.end()

    @abstractmethod
    def _take(self, record: LogRecord) -> None:
        """Whatever it raises, the next record follows."""

    @abstractmethod
    async def _assign(self, consumer: LogConsumer) -> None:
        """Assigns the topic's partitions to a consumer, and seeks to where it begins."""

    @abstractmethod
    async def _catch_up(self, consumer: LogConsumer) -> None:
        """Polls until the end that the topic had at the beginning."""

    @abstractmethod
    async def _poll(self, consumer: LogConsumer) -> None:
        """Hands over what there is."""

    def _duties(self, consumer: LogConsumer) -> list[Coroutine[Any, Any, None]]:
        """What goes on until it is closed."""
        return [self._follow(consumer)]

    async def _open(self) -> LogConsumer:
        consumer = LogConsumer(**self._options, group_id=None, auto_offset_reset="earliest")
        await consumer.start()
        try:
            if self._topic not in await consumer.topics():
                raise LookupError(f"topic {self._topic} is missing: run `tocsin topics apply`")
            await self._assign(consumer)
        except BaseException:
            await self._stop(consumer)
            raise
        return consumer

    async def _caught_up(self) -> LogConsumer:
        consumer = await self._open()
        try:
            await self._catch_up(consumer)
        except BaseException:
            await self._stop(consumer)
            raise
        return consumer

    async def _follow(self, consumer: LogConsumer | None) -> None:
        while True:
            try:
                consumer = consumer or await self._open()
                while True:
                    await self._poll(consumer)
            except (KafkaError, LookupError) as error:
                log.warning(self.again, topic=self._topic, error=type(error).__name__)
            except Exception as error:  # whoever follows relies on it for as long as the process runs
                self._log(self.again, error)
            finally:
                if consumer is not None:
                    await self._stop(consumer)
                consumer = None
            await asyncio.sleep(_BACKOFF_S)

    async def _stop(self, consumer: LogConsumer) -> None:
        """Whatever comes of it, following goes on."""
        try:
            async with asyncio.timeout(_STOP_S):
                await consumer.stop()
        except Exception as error:
            self._log("a consumer didn't stop", error)

    def _log(self, event: str, error: Exception, **where: Any) -> None:
        self._failures.log(event, error, time.time_ns() // 1_000_000, topic=self._topic, **where)


class TopicFollower(Follower):
    """Hands every record of a topic of one partition to ``take``, in order, from the start; all over again after a
    failed read.

    ``settle`` is awaited after each read, before anybody is told that it has got so far.
    """

    again = "reading the topic again from its start"

    def __init__(
        self,
        client_options: Mapping[str, Any],
        topic: str,
        take: Callable[[LogRecord], None],
        settle: Callable[[], Awaitable[None]] = _nothing,
        guard: Guard | None = None,
    ) -> None:
        super().__init__(client_options, topic, guard)
        self._partition = TopicPartition(topic, 0)
        self._taking = take
        self._settle = settle
        self._position = 0
        self._moved = asyncio.Condition()

    async def reached(self, offset: int, *, timeout_s: float = 15.0) -> None:
        """Returns when the record at that offset has been taken. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._moved:
            await self._moved.wait_for(lambda: self._position > offset)

    def _take(self, record: LogRecord) -> None:
        self._taking(record)

    async def _assign(self, consumer: LogConsumer) -> None:
        consumer.assign([self._partition])
        await consumer.seek_to_beginning()

    async def _catch_up(self, consumer: LogConsumer) -> None:
        end = (await consumer.end_offsets([self._partition]))[self._partition]
        while self._position < end:
            await self._poll(consumer)

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

    async def settle(self) -> None:
        """The same for what all records together come to: what was there before stays."""
        try:
            await self._settle()
        except Exception as error:
            self._log("what was read is not taken over", error)
