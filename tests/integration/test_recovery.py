"""Recovery over a wire that goes silent in the middle of it: a broker that says nothing is not an empty log."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.dev.broker import Broker
from app.dev.ports import free_port
from app.kafka.consumers import Silence
from app.streaming.journal import CLAIM, ENTRY, Entry, encode_entry
from app.streaming.restore import Restorer
from app.streaming.store import PartitionStore, block_cache
from faults.wire import Wire
from tests.conftest import broker_options

_ROWS, _ROW_BYTES = 3_000, 12_000
_CHANGELOG, _JOURNAL = "rows_changelog", "a_journal"
_LIMIT_S = 180.0


pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Wired:
    """A broker that is reached over a wire, and the offset of the claim in its journal."""

    wire: Wire
    claim: int

    @property
    def options(self) -> dict[str, str]:
        return {"bootstrap_servers": f"127.0.0.1:{self.wire.port}"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wired(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Wired]:
    listens, advertised = free_port(), free_port()
    options = broker_options(tmp_path_factory.mktemp("wired"))
    broker = Broker(replace(options, detour=(listens, advertised)))
    await broker.start()
    try:
        async with Wire(("127.0.0.1", listens), port=advertised) as wire:
            yield Wired(wire, await fill(broker.bootstrap))
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
    await asyncio.sleep(Silence.LEAST_S + 3)
    await wire.heal()


async def test_a_broker_that_falls_silent_delays_recovery_and_takes_nothing_from_it(
    wired: Wired, tmp_path: Path
) -> None:
    restorer = Restorer(wired.options, {"rows": _CHANGELOG}, _JOURNAL)
    store = PartitionStore(tmp_path / "store", block_cache(1))
    silences: list[asyncio.Task[None]] = []

    def go_silent_once(done: int, of: int) -> None:
        if not silences and done < of:
            silences.append(asyncio.create_task(silent_for_long(wired.wire)))

    async with asyncio.timeout(_LIMIT_S):
        restored = await restorer.restore(store, 0, go_silent_once)
        await asyncio.gather(*silences)

    assert silences, "all came at once: there was no middle to fall silent in"
    assert restored.rows == len(list(store.scan("rows", b"", None))) == _ROWS
    assert store.reached("rows").offset == _ROWS
    store.close()


async def test_what_is_owed_is_waited_for(wired: Wired, tmp_path: Path) -> None:
    restorer = Restorer(wired.options, {"rows": _CHANGELOG}, _JOURNAL)
    store = PartitionStore(tmp_path / "store", block_cache(1))
    silence = asyncio.create_task(silent_for_long(wired.wire))

    async with asyncio.timeout(_LIMIT_S):
        pending_entry = await restorer.pending_entry(store, 0, None, wired.claim)
        await silence

    assert pending_entry.positions == {"notify_events": 7}
    store.close()
