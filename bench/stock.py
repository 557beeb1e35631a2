"""A stock Faust app that does the router's job: the same machine decides, each changed row is written through a Faust
table, each record is sent by ``topic.send``; what Faust promises as at-least-once, and no more.

It is written as Faust's documentation and its measured traps advise: rocksdict stores with small buffers, a linger of
5 ms (Faust counts seconds), fetches of up to 4,096, warnings only in the log, uvloop. ``python -m bench.stock FILE`` is
run by the benchmark ``comparison``.
"""

import asyncio
import os

os.environ["FAUST_LOOP"] = "uvloop"  # before Faust is imported

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faust

from agents.router.machine import RouterMachine
from app.domain.out import SAME_PARTITION, Out
from app.ports import Rows
from bench.rival import RECOVERY_FILE, Rival, rival
from bench.workload import PROVIDERS, Fed, catalog, unix_ms
from schemas.topics import EVENTS
from tables.profiles import PROFILES
from tables.router import ROUTER_TABLES
from tables.suppressions import SUPPRESSIONS

_STORE = {
    "driver": "rocksdict",
    "block_cache_size": 8 << 20,
    "write_buffer_size": 4 << 20,
    "max_write_buffer_number": 2,
    "max_open_files": 256,
    "bloom_filter_size": 10,
}


class FaustRows(Rows):
    """The router's rows in Faust's tables; to be read while an event is handled, as Faust demands."""

    def __init__(self, tables: dict[str, Any]) -> None:
        self._tables = tables

    def get(self, table: str, key: bytes) -> bytes | None:
        value: bytes | None = self._tables[table].get(key)
        return value

    def scan(self, table: str, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """No request of the benchmark's workload has rows scanned; the router looks once for profiles and suppressed
        addresses of an earlier version, and there are none."""
        if table not in (PROFILES.name, SUPPRESSIONS.name):
            raise LookupError(f"{table}: the benchmark's workload scans no rows")
        return iter(())


def build(given: Rival) -> faust.App:
    """The app with its tables, its topics and its one agent."""
    app = faust.App(
        given.name,
        broker=f"kafka://{given.bootstrap}",
        datadir=Path(given.folder),
        store="rocksdb://",
        processing_guarantee="at_least_once",
        producer_linger=0.005,
        producer_max_batch_size=256 * 1024,
        broker_max_poll_records=4_096,
        stream_buffer_maxsize=32_768,
        table_standby_replicas=0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=given.load.partitions,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
    )
    as_bytes: dict[str, Any] = {"key_type": bytes, "value_type": bytes, "partitions": given.load.partitions}
    tables = {name: app.Table(name, options=dict(_STORE), **as_bytes) for name in ROUTER_TABLES}
    outputs: dict[str, Any] = {}
    machine = RouterMachine(
        catalog(given.load.now_ms), partitions=given.load.partitions, providers=PROVIDERS, secret=b"secret"
    )
    rows = FaustRows(tables)
    states = {p: machine.open(rows, p) for p in range(given.load.partitions)}

    def output(topic: str) -> Any:
        if topic not in outputs:
            outputs[topic] = app.topic(given.topic(topic), internal=True, **as_bytes)
        return outputs[topic]

    async def route(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            partition, state, out = message.partition, states[message.partition], Out()
            at_ms = int(message.timestamp * 1000)
            machine.handle(
                Fed(EVENTS, partition, message.offset, at_ms, message.key, message.value), state, out, unix_ms()
            )
            for table in state.tables():
                for key, value in table.changes().items():
                    if value is None:
                        del tables[table.spec.name][key]
                    else:
                        tables[table.spec.name][key] = value
                table.clear()
            for produce in out.records:
                to = partition if produce.partition == SAME_PARTITION else produce.partition
                await output(produce.topic).send(key=produce.key, value=produce.value, partition=to)

    app.agent(app.topic(EVENTS, internal=True, **as_bytes), name="route")(route)
    _time_recovery(app, Path(given.folder) / RECOVERY_FILE)
    return app


def _time_recovery(app: faust.App, file: Path) -> None:
    """Writes the seconds from the first assignment of partitions until the tables are recovered."""
    begun: list[float] = []

    async def assigned(*_: Any, **__: Any) -> None:
        begun.append(time.monotonic())

    app.on_partitions_assigned.connect(assigned, weak=False)

    async def recovered() -> None:
        while not begun:  # noqa: ASYNC110 (the signal may come after a recovery that had nothing to do)
            await asyncio.sleep(0.01)
        await asyncio.to_thread(_write_whole, file, str(max(0.001, time.monotonic() - begun[0])))

    app.task(recovered)  # tasks begin when the tables are recovered


def _write_whole(file: Path, text: str) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(file)


def main() -> None:
    given = rival()
    quiet = {name: {"level": "WARNING"} for name in ("faust", "mode", "aiokafka")}
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"default": {"class": "logging.StreamHandler"}},
        "loggers": quiet,
        "root": {"level": "WARNING", "handlers": ["default"]},
    }
    worker = faust.Worker(build(given), loglevel=logging.INFO, logging_config=config, quiet=True)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
