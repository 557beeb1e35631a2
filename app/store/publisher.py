"""Producing to Kafka where there is no checkpoint: returns when every in-sync replica has the records."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from app.ports import Publisher

log = structlog.get_logger(__name__)

#: The topics take 4 MiB; what a batch adds to a record stays below the difference.
_MAX_REQUEST_BYTES = 4_000_000


class Outgoing(NamedTuple):
    """A record to publish. ``partition`` None: the key's own; ``timestamp_ms`` None: now."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp_ms: int | None = None


class PublishError(Exception):
    """Kafka has not acknowledged every record; each of them may or may not be in the log."""


class TooLargeError(PublishError):
    """A record is larger than its topic takes; nothing of it was produced."""


class KafkaPublisher(Publisher):
    """An idempotent producer, acks=all. It makes itself anew after a failed batch: the sequence numbers that the
    broker then misses would have it refuse that partition for ever."""

    def __init__(
        self, client_options: Mapping[str, Any], *, client_id: str, timeout_s: float = 10.0, linger_ms: int = 2
    ) -> None:
        self._options = {
            **client_options,
            "client_id": client_id,
            "enable_idempotence": True,
            "acks": "all",
            "linger_ms": linger_ms,
            "max_batch_size": 256 * 1024,
            "max_request_size": _MAX_REQUEST_BYTES,
        }
        self._timeout_s = timeout_s
        self._producer: AIOKafkaProducer | None = None
        self._renewing = asyncio.Lock()
        self._retired: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises KafkaError when no broker can be reached."""
        self._producer = await self._make()

    async def close(self) -> None:
        """Waits for what is on its way, within the time limit of a publication."""
        if self._producer is not None:
            await self._stop(self._producer)
        await asyncio.gather(*self._retired)

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Raises PublishError where there is no such topic."""
        try:
            return len(await self._running().partitions_for(topic))
        except KafkaError as error:
            raise PublishError(f"{topic}: {type(error).__name__}") from error

    async def publish(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
    ) -> tuple[int, int]:
        """Returns (partition, offset). Raises PublishError."""
        [position] = await self.publish_many([Outgoing(topic, key, value, partition, headers, timestamp_ms)])
        return position

    async def publish_many(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        """All of the records, in order: (partition, offset) of each.

        Raises PublishError unless all are acknowledged within the time limit; some may be in the log even so, and
        some may still arrive.
        """
        producer = self._running()
        try:
            async with asyncio.timeout(self._timeout_s):
                waiting = [await _handed_over(producer, record) for record in records]
                acknowledged = [await waiting[0]] if len(waiting) == 1 else await asyncio.gather(*waiting)
        except TimeoutError:
            raise PublishError(f"not acknowledged within {self._timeout_s:g} s") from None
        except MessageSizeTooLargeError as error:
            raise TooLargeError("larger than the topic accepts") from error
        except KafkaError as error:
            await self._renew(producer)
            raise PublishError(type(error).__name__) from error
        return [(position.partition, position.offset) for position in acknowledged]

    async def publish_each(self, records: Sequence[Outgoing]) -> list[tuple[int, int] | None]:
        """Each record by itself: (partition, offset), or None where it isn't acknowledged within the time limit. Such a
        record may be in the log even so."""
        producer = self._running()
        tasks = [asyncio.create_task(_acknowledged(producer, record)) for record in records]
        try:
            await asyncio.wait(tasks, timeout=self._timeout_s)
        finally:
            for task in tasks:
                task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        if surprise := next((e for e in ended if isinstance(e, BaseException) and not _is_refusal(e)), None):
            raise surprise
        if any(isinstance(end, KafkaError) for end in ended):
            await self._renew(producer)
        return [None if isinstance(end, BaseException) else end for end in ended]

    def _running(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise PublishError("the producer isn't started")
        return self._producer

    async def _make(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(**self._options)
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def _renew(self, broken: AIOKafkaProducer) -> None:
        async with self._renewing:
            if self._producer is not broken:
                return
            try:
                self._producer = await self._make()
            except KafkaError as error:
                log.warning("can't start a new producer yet", error=type(error).__name__)
                return
        retired = asyncio.create_task(self._stop(broken))
        self._retired.add(retired)
        retired.add_done_callback(self._retired.discard)

    async def _stop(self, producer: AIOKafkaProducer) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await producer.stop()
        except (TimeoutError, KafkaError) as error:
            log.warning("replaced a producer that had unacknowledged records", error=type(error).__name__)


async def _handed_over(producer: AIOKafkaProducer, record: Outgoing) -> "asyncio.Future[Any]":
    """Its place, once it is acknowledged."""
    acknowledged: asyncio.Future[Any] = await producer.send(
        record.topic,
        value=record.value,
        key=record.key,
        partition=record.partition,
        timestamp_ms=record.timestamp_ms,
        headers=list(record.headers),
    )
    return acknowledged


async def _acknowledged(producer: AIOKafkaProducer, record: Outgoing) -> tuple[int, int]:
    position = await (await _handed_over(producer, record))
    return position.partition, position.offset


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, (KafkaError, asyncio.CancelledError))
