"""A worker's end: a dead thread begins it, and what fails keeps nothing else from being stopped."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import OffsetAndMetadata
from faust.types import TP
from structlog.testing import capture_logs

from agents.inbox.machine import InAppMachine
from app.domain.catalog import Catalog
from app.domain.policy import parse_policy
from app.streaming.journal import JournalPosition
from app.streaming.overrides import CheckpointConsumerThread
from app.streaming.runner import PartitionRunner
from app.streaming.store import PartitionStore, block_cache
from app.streaming.worker import RoleWorker
from schemas.topics import COMMANDS


class DeadMember:
    """A consumer whose thread has ended."""

    async def commit_positions(self, positions: Mapping[TP, OffsetAndMetadata]) -> None:
        raise RuntimeError("Event loop is closed")

    async def fetch_committed(self, tps: list[TP]) -> dict[TP, OffsetAndMetadata]:
        raise RuntimeError("Event loop is closed")


@pytest.fixture
async def worker(tmp_path: Path) -> RoleWorker:
    """It has a partition, and a position to commit; there is no broker."""
    worker = RoleWorker(
        InAppMachine(Catalog(parse_policy(""), 1, {})),
        client_options={"bootstrap_servers": "127.0.0.1:9"},
        folder=tmp_path,
        instance="1",
        partitions=1,
        clock=lambda: 0,
    )
    worker._runners[0] = PartitionRunner(0, worker._store(0), worker._runtime)
    worker._committer.join(DeadMember())
    worker._committer.note(0, {COMMANDS: 7}, JournalPosition(3, 1))
    return worker


def is_closed(store: Path) -> bool:
    """Nobody else has it: RocksDB's lock can be had."""
    PartitionStore(store, block_cache(1)).close()
    return True


async def test_a_last_commit_that_fails_is_told_and_the_stores_are_closed(worker: RoleWorker, tmp_path: Path) -> None:
    with capture_logs() as logs:
        await worker.stop()

    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("last commit failed", "warning")]
    assert worker.owned == frozenset()
    assert is_closed(tmp_path / "tables" / "0")


async def test_what_cannot_be_stopped_is_told_and_raised_when_all_else_is_stopped(
    worker: RoleWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise RuntimeError("Faust's end failed")

    monkeypatch.setattr(worker._app, "stop", fail)
    with capture_logs() as logs, pytest.raises(RuntimeError, match="Faust's end failed"):
        await worker.stop()

    assert [entry["event"] for entry in logs] == ["stopping failed", "last commit failed"]
    assert worker.owned == frozenset()
    assert is_closed(tmp_path / "tables" / "0")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_consumer_thread_that_died_is_noticed_though_nothing_asks_for_it(worker: RoleWorker) -> None:
    thread = worker._app.consumer._thread
    assert not thread.has_died
    with suppress(KafkaConnectionError):  # there is no broker; whether mode says so here is its own race
        await thread.start()
    thread._thread.join(60)

    with pytest.raises(RuntimeError, match="the consumer's thread has died"):
        await worker._look_now_and_then()


async def test_a_consumer_thread_that_dies_while_faust_starts_is_noticed_too(
    worker: RoleWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once() -> None:
        return None

    async def never() -> None:
        await asyncio.Event().wait()

    for part, start in ((worker._producer, at_once), (worker._horizon, at_once), (worker._app, never)):
        monkeypatch.setattr(part, "start", start)
    worker._committer.forget(0)
    assert worker._app.consumer is not None
    monkeypatch.setattr(CheckpointConsumerThread, "has_died", True)

    await asyncio.wait_for(worker.start(), 60)

    assert str(worker.crashed.result()) == "the consumer's thread has died"
    await worker._end_duties()
