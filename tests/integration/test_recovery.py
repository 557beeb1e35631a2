"""Recovery over a wire that goes silent in the middle of it: a broker that says nothing is not an empty log."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.dev.broker import Broker
from app.dev.ports import free_port
from app.streaming import restoring
from app.streaming.journal import CLAIM, ENTRY, Entry, encode_entry
from app.streaming.restoring import Restorer
from app.streaming.store import PartitionStore, block_cache
from faults.wire import Wire
from tests.conftest import broker_options

_ROWS, _ROW_BYTES = 3_000, 12_000
_CHANGELOG, _JOURNAL = "rows_changelog", "a_journal"
_LIMIT_S = 180.0


@asynccontextmanager
async def broker_behind_a_wire(folder: Path) -> AsyncIterator[tuple[str, Wire]]:
    """The broker's plain address, and the wire that leads to its other one."""
    listens, advertised = free_port(), free_port()
    broker = Broker(replace(broker_options(folder), detour=(listens, advertised)))
    await broker.start()
    try:
        async with Wire(("127.0.0.1", listens), port=advertised) as wire:
            yield broker.bootstrap, wire
    finally:
        await broker.stop()


async def fill(bootstrap: str) -> int:
    """Many rows in the changelog, and an entry before a claim in the journal; returns the claim's offset."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(_CHANGELOG, 1, 1), NewTopic(_JOURNAL, 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5) as producer:
        row = os.urandom(_ROW_BYTES)
        await asyncio.gather(
            *[await producer.send(_CHANGELOG, row, key=b"%06d" % n, partition=0) for n in range(_ROWS)]
        )
        entry = encode_entry(Entry({"notify_events": 7}, {}, []))
        await producer.send_and_wait(_JOURNAL, entry, key=ENTRY, partition=0)
        return int((await producer.send_and_wait(_JOURNAL, b"owner", key=CLAIM, partition=0)).offset)


async def silent_for_long(wire: Wire) -> None:
    """Longer than the silence that would be taken for an empty log; then it speaks again."""
    wire.freeze()
    await asyncio.sleep(restoring._QUIET_S + 3)
    await wire.heal()


async def test_a_broker_that_falls_silent_delays_recovery_and_takes_nothing_from_it(tmp_path: Path) -> None:
    async with broker_behind_a_wire(tmp_path) as (plain, wire), asyncio.timeout(_LIMIT_S):
        claim = await fill(plain)
        options = {"bootstrap_servers": f"127.0.0.1:{wire.port}"}
        restorer = Restorer(options, {"rows": _CHANGELOG}, _JOURNAL)
        store = PartitionStore(tmp_path / "store", block_cache(1))
        silences: list[asyncio.Task[None]] = []

        def go_silent_once(done: int, of: int) -> None:
            if not silences and done < of:
                silences.append(asyncio.create_task(silent_for_long(wire)))

        rows = await restorer.restore(store, 0, go_silent_once)

        assert silences, "all came at once: there was no middle to fall silent in"
        assert rows == len(list(store.scan("rows", b"", None))) == _ROWS
        assert store.changelog_offset("rows") == _ROWS

        started = time.monotonic()
        silence = asyncio.create_task(silent_for_long(wire))
        owed = await restorer.owed(store, 0, None, claim)

        assert time.monotonic() - started > restoring._QUIET_S
        assert owed.positions == {"notify_events": 7}
        await asyncio.gather(*silences, silence)
        store.close()
