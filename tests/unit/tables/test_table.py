"""A table as a batch sees it: stored rows under the batch's changes, and nothing written before its time."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from tables.rows import MemoryRows
from tables.schedule import SCHEDULE, Due, Schedule, due_ms_of
from tables.table import Table, TableSpec


class Number(Struct, frozen=True, array_like=True):
    n: int


NUMBERS: TableSpec[Number] = TableSpec("numbers", Number)

keys = st.binary(min_size=1, max_size=2)
changes = st.lists(st.tuples(keys, st.none() | st.integers(0, 9)), max_size=12)


def stored(**rows: int) -> MemoryRows:
    memory = MemoryRows()
    table = Table(NUMBERS, memory)
    for key, n in rows.items():
        table.put(key.encode(), Number(n))
    memory.write("numbers", table.changes())
    return memory


def change(table: Table[Number], key: bytes, n: int | None) -> None:
    if n is None:
        table.delete(key)
    else:
        table.put(key, Number(n))


@given(changes, changes, keys, keys)
def test_reading_is_as_if_every_change_had_been_written(
    before: list[tuple[bytes, int | None]], batch: list[tuple[bytes, int | None]], start: bytes, end: bytes
) -> None:
    memory = MemoryRows()
    plain: dict[bytes, Number] = {}
    for part, write in ((before, True), (batch, False)):
        table = Table(NUMBERS, memory)
        for key, n in part:
            change(table, key, n)
            plain.pop(key, None)
            if n is not None:
                plain[key] = Number(n)
        if write:
            memory.write("numbers", table.changes())
    expected = [(key, row) for key, row in sorted(plain.items()) if start <= key < end]

    assert table.scan(start, end) == expected
    assert table.scan(start, end, 2) == expected[:2]
    assert all(table.get(key) == row for key, row in plain.items())


@given(changes, changes)
def test_a_rollback_undoes_what_came_since_begin_and_nothing_else(
    kept: list[tuple[bytes, int | None]], undone: list[tuple[bytes, int | None]]
) -> None:
    table = Table(NUMBERS, stored(a=1, b=2))
    for key, n in kept:
        change(table, key, n)
    before, rows = table.changes(), table.scan(b"", None)
    table.begin()
    for key, n in undone:
        change(table, key, n)
    table.rollback()

    assert table.changes() == before
    assert table.scan(b"", None) == rows


def test_nothing_is_stored_before_the_runner_writes_it() -> None:
    memory = stored(a=1)
    Table(NUMBERS, memory).put(b"a", Number(2))

    assert Table(NUMBERS, memory).get(b"a") == Number(1)


def test_deleting_what_is_not_there_is_no_change() -> None:
    table = Table(NUMBERS, stored())
    table.delete(b"a")

    assert table.changes() == {}


def test_a_row_of_another_version_is_refused_and_says_which() -> None:
    later: TableSpec[Number] = TableSpec("numbers", Number, version=2)

    with pytest.raises(ValueError, match="numbers: row version 1, known is 2"):
        Table(later, stored(a=1)).get(b"a")


@given(st.lists(st.integers(0, 2**40), max_size=20), st.integers(0, 2**40))
def test_what_has_fallen_due_comes_in_the_order_of_time(dues: list[int], now: int) -> None:
    schedule = Schedule(SCHEDULE, MemoryRows())
    for number, due_ms in enumerate(dues):
        schedule.at(due_ms, Due("retry", "u1", str(number).encode()))
    woken = [due_ms_of(key) for key, _ in schedule.due(now, 100)]

    assert woken == sorted(due_ms for due_ms in dues if due_ms <= now)


class Counting(MemoryRows):
    """Counts the rows that scans yield."""

    def __init__(self) -> None:
        super().__init__()
        self.yielded = 0
        self.starts: list[bytes] = []

    def scan(self, table: str, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        self.starts.append(start)
        for pair in super().scan(table, start, end):
            self.yielded += 1
            yield pair


def test_looking_for_what_is_due_passes_over_no_more_rows_than_it_finds() -> None:
    rows = Counting()
    schedule = Schedule(SCHEDULE, rows)
    for due_ms in (5_000, 9_000):
        schedule.at(due_ms, Due("retry", "u1", b"s1"))
    rows.write("schedule", schedule.changes())
    schedule = Schedule(SCHEDULE, rows)

    assert schedule.due(4_000, 10) == []  # (it knows now that nothing is due before 5,000)
    assert rows.yielded == 1
    assert len(schedule.due(5_000, 1)) == 1
    assert rows.yielded == 2
    assert rows.starts[1:] == [(5_000).to_bytes(8, "big")]


def test_scheduling_the_same_again_is_one_row() -> None:
    schedule = Schedule(SCHEDULE, MemoryRows())
    due = Due("retry", "u1", b"s1")

    assert schedule.at(5, due) == schedule.at(5, due)
    assert len(schedule.due(5, 10)) == 1


def test_what_was_seen_last_is_kept_when_a_batch_is_stored_and_nothing_else_of_it() -> None:
    memory = stored(**{f"k{n}": n for n in range(9)})
    table = Table(TableSpec("numbers", Number, kept=2), memory)
    for n in range(6):
        table.get(f"k{n}".encode())
    table.put(b"k5", Number(50))
    memory.write("numbers", table.changes())
    table.stored()
    memory.tables["numbers"].clear()

    assert table.changes() == {}
    assert [table.get(f"k{n}".encode()) for n in (3, 4, 5)] == [None, Number(4), Number(50)]


def test_rows_that_are_kept_are_rolled_back_like_others() -> None:
    memory = stored(a=1)
    table = Table(TableSpec("numbers", Number, kept=2), memory)
    table.get(b"a")
    table.stored()
    table.begin()
    table.put(b"a", Number(2))
    table.rollback()

    assert table.get(b"a") == Number(1)
    assert table.changes() == {}


def test_a_table_that_keeps_nothing_reads_anew_after_a_batch() -> None:
    memory = stored(a=1)
    table = Table(NUMBERS, memory)
    table.get(b"a")
    table.stored()
    memory.tables["numbers"].clear()

    assert table.get(b"a") is None
