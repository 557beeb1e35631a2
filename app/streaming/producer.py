"""Produces whole checkpoints: records gathered into batches for each topic and partition, every one acknowledged.

aiokafka's ``send`` costs a task and a future a record; ``create_batch`` and ``send_batch`` cost a tenth of that.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from app.domain.out import SAME_PARTITION, Produce
from app.streaming.failpoints import reach
from schemas.sizes import STATE_BYTES

_NO_HEADERS: list[tuple[str, bytes]] = []  # (aiokafka takes nothing but lists)
_BATCH_BYTES = 512 * 1024
MAX_REQUEST_BYTES = STATE_BYTES


class ProduceFailed(Exception):
    """Kafka did not acknowledge a record: the worker has to stop before it acknowledges anything itself."""


class RecordRefused(ProduceFailed):
    """Kafka refuses a record as too large for its topic."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where records came to lie, the end not included. If that is more than ``records``, others' lie among them."""

    first: int
    end: int
    records: int


class BatchProducer:
    """An idempotent producer with acks from all in-sync replicas. One a process, shared by its partitions."""

    def __init__(self, client_options: Mapping[str, Any], client_id: str) -> None:
        self._options = dict(client_options)
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        self._producer = AIOKafkaProducer(
            **self._options,
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=_BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
            request_timeout_ms=60_000,
        )
        await self._producer.start()

    async def stop(self) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def append(self, topic: str, partition: int, value: bytes, key: bytes = b"") -> int:
        """One record, alone in its batch; returns its offset."""
        assert self._producer is not None
        try:
            metadata = await self._producer.send_and_wait(topic, value, key=key, partition=partition)
        except Exception as error:
            raise ProduceFailed(f"{topic}[{partition}]: {error!r}") from error
        return int(metadata.offset)

    async def produce(self, records: Iterable[Produce], partition: int) -> dict[tuple[str, int], Span]:
        """Produces all and waits until all are acknowledged. Order is kept within a topic's partition.

        Returns where they lie, by (topic, partition). Raises ProduceFailed.
        """
        grouped: dict[tuple[str, int], list[Produce]] = {}
        topic, number = "", SAME_PARTITION
        group: list[Produce] = []
        for record in records:
            if record.topic != topic or record.partition != number:  # (rows of a table come one after the other)
                topic, number = record.topic, record.partition
                group = grouped.setdefault((topic, partition if number == SAME_PARTITION else number), [])
            group.append(record)
        sent = [(where, await self._send(where, group)) for where, group in grouped.items()]
        spans: dict[tuple[str, int], Span] = {}
        for where, futures in sent:
            spans[where] = await _span(where, futures)
            reach("amid_outputs")
        return spans

    async def produce_what_fits(self, records: Iterable[Produce], partition: int) -> list[Produce]:
        """Produces each record that its topic takes, and returns the others. It takes a producer of its own: once a
        record was refused, an idempotent one writes nothing more to that partition. Raises ProduceFailed."""
        producer = AIOKafkaProducer(
            **self._options, client_id=self._client_id, acks="all", max_request_size=MAX_REQUEST_BYTES
        )
        refused: list[Produce] = []
        await producer.start()
        try:
            for record in records:
                try:
                    await producer.send_and_wait(
                        record.topic,
                        record.value,
                        key=record.key,
                        partition=partition if record.partition == SAME_PARTITION else record.partition,
                        timestamp_ms=record.timestamp_ms,
                        headers=list(record.headers),
                    )
                except MessageSizeTooLargeError:
                    refused.append(record)
        except Exception as error:
            raise ProduceFailed(repr(error)) from error
        finally:
            await producer.stop()
        return refused

    async def _send(self, where: tuple[str, int], records: list[Produce]) -> list[tuple[asyncio.Future[Any], int]]:
        assert self._producer is not None
        producer, (topic, partition) = self._producer, where
        sent: list[tuple[asyncio.Future[Any], int]] = []
        batch = producer.create_batch()
        for record in records:
            headers = record.headers or _NO_HEADERS
            if not isinstance(headers, list):
                headers = list(headers)
            appended = batch.append(timestamp=record.timestamp_ms, key=record.key, value=record.value, headers=headers)
            if appended is None:
                sent.append(await self._submit(batch, topic, partition))
                batch = producer.create_batch()
                if not batch.append(timestamp=record.timestamp_ms, key=record.key, value=record.value, headers=headers):
                    raise ProduceFailed(f"{topic}[{partition}]: a record is larger than {MAX_REQUEST_BYTES} bytes")
        sent.append(await self._submit(batch, topic, partition))
        return sent

    async def _submit(self, batch: Any, topic: str, partition: int) -> tuple[asyncio.Future[Any], int]:
        assert self._producer is not None
        batch.close()
        count = batch.record_count()
        try:
            return await self._producer.send_batch(batch, topic, partition=partition), count
        except Exception as error:
            raise ProduceFailed(f"{topic}[{partition}]: {error!r}") from error


async def _span(where: tuple[str, int], futures: list[tuple[asyncio.Future[Any], int]]) -> Span:
    first, end, records = -1, -1, 0
    for future, count in futures:
        try:
            metadata = await future
        except MessageSizeTooLargeError as error:
            raise RecordRefused(f"{where[0]}[{where[1]}]: a record is too large") from error
        except Exception as error:
            raise ProduceFailed(f"{where[0]}[{where[1]}]: {error!r}") from error
        first = metadata.offset if first < 0 else first
        end, records = metadata.offset + count, records + count
    return Span(first, end, records)
