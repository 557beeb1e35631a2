"""A partition's store: one atomic write a checkpoint, order of keys, and a broken folder that is rebuilt."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.streaming.journal import JournalPosition
from app.streaming.store import PartitionStore, Reached, StoreBroken, block_cache, open_store
from tables.rows import MemoryRows

CACHE = block_cache(1)
NOW, HOUR = 1_763_553_600_000, 3_600_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PartitionStore]:
    store = PartitionStore(tmp_path / "tables" / "0", CACHE)
    yield store
    store.close()


def test_rows_and_how_far_they_reach_are_written_together(store: PartitionStore) -> None:
    store.write(
        {"profiles": {b"u1": b"row"}}, {"profiles": Reached(12, b"stamp")}, journal_position=JournalPosition(4, 2)
    )

    assert store.get("profiles", b"u1") == b"row"
    assert store.reached("profiles") == Reached(12, b"stamp")
    assert store.journal_position() == JournalPosition(4, 2)


def test_a_bookmark_from_before_there_were_claims_is_read(store: PartitionStore) -> None:
    store._db.put(b"\0journal", (7).to_bytes(8, "big"))

    assert store.journal_position() == JournalPosition(7, -1)


def test_how_far_a_changelog_is_had_from_before_there_were_stamps_is_read(store: PartitionStore) -> None:
    store._db.put(b"\0offset\0profiles", (7).to_bytes(8, "big"))

    assert store.reached("profiles") == Reached(7)


def test_a_new_store_has_seen_nothing(store: PartitionStore) -> None:
    assert store.reached("profiles") == Reached(0)
    assert store.journal_position() is None
    assert store.get("profiles", b"u1") is None


def test_none_deletes_a_row(store: PartitionStore) -> None:
    store.write({"profiles": {b"u1": b"row"}}, {})
    store.write({"profiles": {b"u1": None}}, {})

    assert store.get("profiles", b"u1") is None


def test_a_scan_yields_its_own_table_in_the_order_of_keys_as_memory_does(store: PartitionStore) -> None:
    rows = {b"b": b"2", b"a": b"1", b"c\x00": b"3", b"\xff": b"4"}
    memory = MemoryRows()
    memory.write("t", rows)
    store.write({"t": rows, "t2": {b"b": b"other"}}, {})

    for start, end in ((b"", None), (b"b", None), (b"", b"b"), (b"b", b"c\x00"), (b"x", b"y")):
        assert list(store.scan("t", start, end)) == list(memory.scan("t", start, end))


def test_clearing_a_table_leaves_the_others(store: PartitionStore) -> None:
    store.write({"t": {b"k": b"v"}, "t2": {b"k": b"v"}}, {"t": Reached(3), "t2": Reached(3)})
    store.clear(["t"])

    assert list(store.scan("t", b"", None)) == []
    assert store.reached("t") == Reached(0)
    assert store.get("t2", b"k") == b"v"
    assert store.reached("t2") == Reached(3)


def test_what_was_written_survives_closing(tmp_path: Path) -> None:
    store = PartitionStore(tmp_path / "0", CACHE)
    store.write({"t": {b"k": b"v"}}, {"t": Reached(1)})
    store.close()

    again, broken = open_store(tmp_path / "0", CACHE, NOW)

    assert broken is None
    assert again.get("t", b"k") == b"v"
    again.close()


def test_a_broken_store_is_rebuilt_from_nothing_and_says_so(tmp_path: Path) -> None:
    store = PartitionStore(tmp_path / "0", CACHE)
    store.write({"t": {b"k": b"v"}}, {"t": Reached(1)})
    store.close()
    (tmp_path / "0" / "CURRENT").unlink()

    again, broken = open_store(tmp_path / "0", CACHE, NOW)

    assert broken is not None
    assert again.reached("t") == Reached(0)
    again.close()


def test_a_store_that_another_has_open_is_not_taken_for_broken(tmp_path: Path) -> None:
    store = PartitionStore(tmp_path / "0", CACHE)
    store.write({"t": {b"k": b"v"}}, {"t": Reached(1)})

    with pytest.raises(StoreBroken):
        open_store(tmp_path / "0", CACHE, NOW)

    assert store.get("t", b"k") == b"v"
    store.close()


@pytest.mark.parametrize(("hours", "kept"), [(11, True), (13, False)])
def test_a_store_that_was_left_alone_until_tombstones_may_be_gone_is_rebuilt(
    tmp_path: Path, hours: int, kept: bool
) -> None:
    store = PartitionStore(tmp_path / "0", CACHE)
    store.write({"t": {b"k": b"v"}}, {"t": Reached(1)})
    store.touch(NOW)
    store.close()

    again, why = open_store(tmp_path / "0", CACHE, NOW + hours * HOUR)

    assert (why is None, again.get("t", b"k") == b"v") == (kept, kept)
    again.close()


def damaged(folder: Path) -> PartitionStore:
    """A store that opens, and whose rows can't all be read."""
    store = PartitionStore(folder, CACHE)
    store.write({"t": {b"%05d" % n: b"%05d" % n * 200 for n in range(2_000)}}, {"t": Reached(1)})
    store.flush()
    store.close()
    for table in folder.glob("*.sst"):
        content = bytearray(table.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
        table.write_bytes(content)
    return PartitionStore(folder, CACHE)


def test_a_scan_over_rows_that_cant_be_read_does_not_just_end(tmp_path: Path) -> None:
    store = damaged(tmp_path / "0")

    with pytest.raises(StoreBroken):
        list(store.scan("t", b"", None))

    store.close()


def test_a_store_whose_rows_cant_be_read_is_rebuilt_when_it_is_opened_next(tmp_path: Path) -> None:
    store = damaged(tmp_path / "0")
    with pytest.raises(StoreBroken):
        [store.get("t", b"%05d" % n) for n in range(2_000)]
    store.close()

    again, why = open_store(tmp_path / "0", CACHE, NOW)

    assert why is not None
    assert again.reached("t") == Reached(0)
    again.close()
    third, why = open_store(tmp_path / "0", CACHE, NOW)
    assert why is None
    third.close()
