"""Reads the topics of a run from where it began to their ends."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from faults.checker.values import BadRun, Record, Terms
from faults.checker.words import TOPICS

#: A clock that was set back dates records before the run began.
_EARLIER_MS = 60_000
_PATIENCE_S = 60.0
_POLL_S = 0.05


@dataclass(slots=True)
class Log:
    """What was found: the records, and the first offset that was read of each partition of each topic."""

    records: list[Record] = field(default_factory=list)
    begins: dict[tuple[str, int], int] = field(default_factory=dict)


async def read_log(terms: Terms) -> Log:
    """All records from the run's start to the ends that the topics have now. Raises BadRun."""
    log = Log()
    try:
        async with _consumer(terms.bootstrap) as consumer:
            await _read(consumer, terms, log)
    except KafkaError as error:
        raise BadRun(f"run.json: bootstrap: {terms.bootstrap} can't be read from: {error!r}") from None
    return log


@asynccontextmanager
async def _consumer(bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=16 << 20,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def _partitions(bootstrap: str) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        there = sorted(TOPICS.intersection(await admin.list_topics()))
        told = await admin.describe_topics(there) if there else []
    finally:
        await admin.close()
    return [TopicPartition(each["topic"], part["partition"]) for each in told for part in each["partitions"]]


async def _read(consumer: AIOKafkaConsumer, terms: Terms, log: Log) -> None:
    parts = await _partitions(terms.bootstrap)
    if not parts:
        raise BadRun(f"run.json: bootstrap: {terms.bootstrap} has none of the topics")
    consumer.assign(parts)
    ends = await consumer.end_offsets(parts)
    begun = await consumer.offsets_for_times(dict.fromkeys(parts, max(0, terms.started_ms - _EARLIER_MS)))
    open_parts = set()
    for part in parts:
        first = begun[part].offset if begun.get(part) is not None else ends[part]
        log.begins[part.topic, part.partition] = first
        consumer.seek(part, first)
        if first < ends[part]:
            open_parts.add(part)
    # What has been read to its end is paused, so that what others still write costs nothing.
    consumer.pause(*(part for part in parts if part not in open_parts))
    deadline = time.monotonic() + _PATIENCE_S
    while open_parts:
        quiet = True
        for part in tuple(open_parts):
            if found := await _next(consumer, part):
                quiet, deadline = False, time.monotonic() + _PATIENCE_S
                log.records += [_record(each) for each in found if each.offset < ends[part]]
        if quiet:
            await asyncio.sleep(_POLL_S)
        for part in tuple(open_parts):
            if await consumer.position(part) >= ends[part]:
                open_parts.discard(part)
                consumer.pause(part)
        if time.monotonic() > deadline:
            names = ", ".join(f"{part.topic}:{part.partition}" for part in sorted(open_parts))
            raise BadRun(f"{terms.bootstrap}: nothing came for {_PATIENCE_S:.0f} s of {names}")


async def _next(consumer: AIOKafkaConsumer, part: TopicPartition) -> list[ConsumerRecord]:
    """What has been fetched of one partition. aiokafka can't read header names that aren't UTF-8: such a record is left
    out, and what lies before it is read one by one."""
    at = await consumer.position(part)
    try:
        return list((await consumer.getmany(part, timeout_ms=0)).get(part, ()))
    except UnicodeDecodeError:
        consumer.seek(part, at)
    found: list[ConsumerRecord] = []
    while True:
        try:
            found += (await consumer.getmany(part, timeout_ms=1000, max_records=1)).get(part, ())
        except UnicodeDecodeError:
            consumer.seek(part, await consumer.position(part) + 1)
            return found


def _record(found: ConsumerRecord) -> Record:
    return Record(found.topic, found.partition, found.offset, found.timestamp, found.key, found.value)
