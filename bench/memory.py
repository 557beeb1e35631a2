"""The ceiling for Python: a plain aiokafka loop that makes the same decisions and produces the same records.

Nothing is durable: rows are structs in plain dicts and are never encoded, offsets are committed by the client now and
then, and a batch's records are only waited for when the next one is ready. ``python -m bench.memory FILE`` is run by
the benchmark ``comparison``.
"""

import asyncio
import signal
from collections.abc import Awaitable, Iterable
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from agents.router.machine import RouterMachine
from app.domain.out import SAME_PARTITION, Out, Produce
from bench.rival import Rival, rival
from bench.workload import PROVIDERS, Workload, catalog, rows_of_users, unix_ms
from schemas.topics import EVENTS
from tables.router import RouterState
from tables.rows import MemoryRows

_BATCH_BYTES = 512 * 1024
_AT_ONCE = 4_000


class MemoryRouter:
    """The router's machine over dicts, all partitions in one process."""

    def __init__(self, load: Workload) -> None:
        self._machine = RouterMachine(
            catalog(load.now_ms), partitions=load.partitions, providers=PROVIDERS, secret=b"secret"
        )
        self._states: dict[int, RouterState] = {}
        for partition, tables in rows_of_users(load, 0, load.users).items():
            rows = MemoryRows()
            rows.tables = tables
            self._states[partition] = self._machine.open(rows, partition)

    def handle(self, partition: int, records: Iterable[Any], now: int) -> list[Produce]:
        """The records to produce. The tables are never cleared: what they changed *is* the state."""
        state, out = self._states[partition], Out()
        tables = state.tables()
        for record in records:
            for table in tables:
                if table.undo:
                    table.begin()
            self._machine.handle(record, state, out, now)
        return out.records


async def drain(given: Rival) -> None:
    """Reads the requests for ever."""
    router = MemoryRouter(given.load)
    consumer = AIOKafkaConsumer(
        EVENTS,
        bootstrap_servers=given.bootstrap,
        group_id=given.name,
        enable_auto_commit=True,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=given.bootstrap, acks="all", enable_idempotence=True, max_batch_size=_BATCH_BYTES
    )
    await consumer.start()
    await producer.start()
    sent: list[Awaitable[Any]] = []
    try:
        while True:
            fetched = await consumer.getmany(timeout_ms=200, max_records=_AT_ONCE)
            now = unix_ms()
            decided = {tp.partition: router.handle(tp.partition, records, now) for tp, records in fetched.items()}
            await asyncio.gather(*sent)
            sent = [
                await producer.send_batch(batch, topic, partition=number)
                for partition, records in decided.items()
                for (topic, number), batch in _batches(producer, given, partition, records)
            ]
    finally:
        await producer.stop()
        await consumer.stop()


def _batches(
    producer: AIOKafkaProducer, given: Rival, partition: int, records: Iterable[Produce]
) -> list[tuple[tuple[str, int], Any]]:
    """The records as closed batches, each with its topic and partition (as ``send_batch`` takes them)."""
    full: list[tuple[tuple[str, int], Any]] = []
    open_batches: dict[tuple[str, int], Any] = {}
    for record in records:
        where = (given.topic(record.topic), partition if record.partition == SAME_PARTITION else record.partition)
        batch = open_batches.get(where) or open_batches.setdefault(where, producer.create_batch())
        if batch.append(timestamp=record.timestamp_ms, key=record.key, value=record.value) is None:
            full.append((where, batch))
            batch = open_batches[where] = producer.create_batch()
            batch.append(timestamp=record.timestamp_ms, key=record.key, value=record.value)
    full.extend(open_batches.items())
    for _, batch in full:
        batch.close()
    return full


def main() -> None:
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

    async def until_told() -> None:
        draining = asyncio.create_task(drain(rival()))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, draining.cancel)
        await asyncio.gather(draining, return_exceptions=False)

    try:
        asyncio.run(until_told())
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    main()
