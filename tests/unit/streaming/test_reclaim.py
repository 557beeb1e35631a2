"""After an erasure the owner has the broker compact what holds the deleted rows, compacts its store, and sees that both
were done before it reports so."""

import asyncio
import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.domain.erasure import ERASURES_TABLE, ErasureSteps
from app.streaming.reclaim import Reclaimer
from app.streaming.store import PartitionStore, Reclaimed, block_cache, open_store, set_aside_abandoned
from tests.conftest import eventually

SECRET = b"a value that nobody else would write"
ERASED = {ERASURES_TABLE: {b"a hash": b"row"}}
STEPS = ErasureSteps(timedelta(seconds=0.6))


class Log:
    """Compacted topics of one partition. ``compacted``: whether the broker has compacted what was rolled."""

    def __init__(self) -> None:
        self.probes: list[int] = []
        self.compacted = False
        self.asked: list[dict[str, int]] = []

    async def probe(self, positions: dict[str, int], records: int) -> dict[str, int]:
        self.probes.append(records)
        return {"changelog": 10 * len(self.probes), "journal": 100 * len(self.probes)}

    async def gone(self, partition: int, probes: Mapping[str, int]) -> set[str]:
        self.asked.append(dict(probes))
        return set(probes) if self.compacted else set()


@pytest.fixture
def store(tmp_path: Path) -> PartitionStore:
    return PartitionStore(tmp_path / "tables" / "0", block_cache(1))


def reclaiming(store: PartitionStore, log: Log) -> Reclaimer:
    return Reclaimer(0, store, log, log.gone, STEPS, lambda: 1_000)


async def steps(mine: Reclaimer, until: Any) -> None:
    async def is_there() -> bool:
        await mine.step(dict)
        return bool(until())

    await eventually(is_there)


async def test_nothing_is_written_where_nobody_was_erased(store: PartitionStore) -> None:
    log = Log()
    store.write({"profiles": {b"ann": b"row"}, ERASURES_TABLE: {b"a hash": None}}, {})

    for _ in range(3):
        await reclaiming(store, log).step(dict)

    assert log.probes == []


async def test_a_round_probes_rolls_and_compacts_and_is_done_when_the_broker_has_compacted(
    store: PartitionStore,
) -> None:
    log = Log()
    mine = reclaiming(store, log)
    store.write(ERASED, {})

    await steps(mine, lambda: len(log.asked) > 0)
    assert log.probes == [2, 1]  # the probe, then what has the segments rolled
    assert log.asked == [{"changelog": 10, "journal": 100}]
    assert mine.state("router-1") == {
        "by": "router-1",
        "erased_before": None,
        "store_compacted_at": None,
        "log_compacted_at": None,
        "pending_topics": ["changelog", "journal"],
    }

    log.compacted = True
    await steps(mine, store.reclaimed)
    assert store.reclaimed() == Reclaimed(1_000, 1_000, 1_000)
    assert mine.state("router-1")["pending_topics"] == []


async def test_who_is_erased_amid_a_round_gets_another_one(store: PartitionStore) -> None:
    log = Log()
    mine = reclaiming(store, log)
    store.write(ERASED, {})
    await mine.step(dict)

    store.write(ERASED, {})
    await steps(mine, lambda: log.probes.count(2) == 2)
    log.compacted = True
    await steps(mine, lambda: not mine.state("")["pending_topics"])


async def test_a_round_that_a_crash_breaks_off_is_made_by_whoever_opens_the_store_next(
    store: PartitionStore, tmp_path: Path
) -> None:
    store.write(ERASED, {})
    await reclaiming(store, Log()).step(dict)
    store.flush()
    store.close()

    log = Log()
    log.compacted = True
    reopened, _ = open_store(tmp_path / "tables" / "0", block_cache(1), 0)
    await steps(reclaiming(reopened, log), reopened.reclaimed)
    reopened.close()

    settled, _ = open_store(tmp_path / "tables" / "0", block_cache(1), 0)
    assert not settled.reclaim_pending
    assert settled.reclaimed() == Reclaimed(1_000, 1_000, 1_000)


def test_compacting_leaves_no_byte_of_deleted_and_replaced_rows(store: PartitionStore) -> None:
    def holds_it() -> bool:
        return any(SECRET in file.read_bytes() for file in store.folder.iterdir())

    store.write({"profiles": {b"ann": SECRET, b"bob": SECRET}}, {})
    store.flush()
    store.write({"profiles": {b"ann": None, b"bob": b"replaced"}}, {})
    store.flush()
    assert holds_it()

    store.compact()

    assert not holds_it()
    assert store.get("profiles", b"bob") == b"replaced"


async def test_a_store_can_be_closed_while_it_is_compacted(store: PartitionStore) -> None:
    for number in range(20):
        store.write({"rows": {b"%d-%d" % (number, row): bytes(500) for row in range(2_000)}}, {})
    compacting = asyncio.create_task(asyncio.to_thread(store.compact))
    await asyncio.sleep(0)

    await asyncio.to_thread(store.close)

    await compacting


def test_a_store_that_nobody_uses_is_set_aside_when_it_is_old_enough(tmp_path: Path) -> None:
    for name in ("0", "1", "2"):
        PartitionStore(tmp_path / name, block_cache(1)).close()
    now = (tmp_path / "1").stat().st_mtime

    assert set_aside_abandoned(tmp_path, {"0"}, now + 10, 60) == []
    aside = set_aside_abandoned(tmp_path, {"0"}, now + 100, 60)
    assert sorted(folder.name.split("-")[0] for folder in aside) == ["1", "2"]
    assert sorted(set_aside_abandoned(tmp_path, {"0"}, now, 60)) == sorted(aside)  # those that a crash left
    assert (tmp_path / "0").exists()


def test_a_store_that_is_being_closed_is_in_use(tmp_path: Path) -> None:
    for name in ("1", "2"):
        PartitionStore(tmp_path / name, block_cache(1)).close()
    (tmp_path / "1" / "000042.log").symlink_to("gone")  # listed, but not there any more: RocksDB has just deleted it
    now = (tmp_path / "2").stat().st_mtime

    aside = set_aside_abandoned(tmp_path, set(), now + 100, 60)

    assert [folder.name.split("-")[0] for folder in aside] == ["2"]
    assert (tmp_path / "1").exists()


@pytest.mark.parametrize("step", ["iterdir", "stat", "rename"])
def test_a_store_may_vanish_at_any_step_of_setting_it_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    for name in ("1", "2", "3"):
        PartitionStore(tmp_path / name, block_cache(1)).close()
    now = (tmp_path / "1").stat().st_mtime
    before = getattr(Path, step)

    def vanishing(path: Path, *args: Any, **options: Any) -> Any:
        if path == tmp_path / "2":
            shutil.rmtree(path, ignore_errors=True)
        return before(path, *args, **options)

    monkeypatch.setattr(Path, step, vanishing)
    aside = set_aside_abandoned(tmp_path, set(), now + 100, 60)

    assert sorted(folder.name.split("-")[0] for folder in aside) == ["1", "3"]
    assert set_aside_abandoned(tmp_path / "nowhere", set(), now, 60) == []
