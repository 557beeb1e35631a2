"""Sweeping: what expired goes, what is remembered stays, a bounded step at a time."""

import pytest
from msgspec import Struct

from app.streaming.ttl import TtlSweeper
from tables.rows import MemoryRows
from tables.table import Table, TableSpec


class Remembered(Struct, frozen=True, array_like=True):
    what: str
    until: int | None
    stays: bool = False


EXPIRING: TableSpec[Remembered] = TableSpec("expiring", Remembered, until="until", stays=lambda row: row.stays)
LASTING: TableSpec[Remembered] = TableSpec("lasting", Remembered)


def filled(spec: TableSpec[Remembered], **untils: int | None) -> Table[Remembered]:
    rows = MemoryRows()
    table = Table(spec, rows)
    for key, until in untils.items():
        table.put(key.encode(), Remembered("it", until))
    store(table, rows)
    return table


def store(table: Table[Remembered], rows: MemoryRows) -> None:
    rows.write(table.spec.name, table.changes())
    table.clear()


def keys(table: Table[Remembered]) -> list[bytes]:
    return [key for key, _ in table.scan(b"", None)]


def test_only_what_expired_before_now_is_deleted() -> None:
    table = filled(EXPIRING, past=9, now=10, later=11, never=None)

    assert TtlSweeper([table]).step(10, 100) == 1
    assert keys(table) == [b"later", b"never", b"now"]


def test_rows_of_a_table_without_expiry_are_left_alone() -> None:
    table = filled(LASTING, past=1)

    assert TtlSweeper([table]).step(10, 100) == 0
    assert keys(table) == [b"past"]


def test_a_step_looks_at_no_more_rows_than_it_may_and_the_next_goes_on_there() -> None:
    table = filled(EXPIRING, **{f"k{n}": 1 for n in range(5)})
    sweeper = TtlSweeper([table])

    assert [sweeper.step(10, 2) for _ in range(3)] == [2, 2, 1]
    assert keys(table) == []


def test_a_row_that_stays_is_left_alone_whenever_it_expired() -> None:
    rows = MemoryRows()
    table = Table(EXPIRING, rows)
    table.put(b"stays", Remembered("it", 1, stays=True))
    store(table, rows)

    assert TtlSweeper([table]).step(10, 100) == 0
    assert keys(table) == [b"stays"]


def test_a_row_that_the_batch_changed_is_not_judged_by_what_is_stored() -> None:
    table = filled(EXPIRING, renewed=1, past=1)
    table.put(b"renewed", Remembered("it", 20))

    assert TtlSweeper([table]).step(10, 100) == 1
    assert keys(table) == [b"renewed"]


def test_a_row_of_another_version_is_not_taken_for_expired() -> None:
    rows = MemoryRows()
    table = Table(EXPIRING, rows)
    rows.write("expiring", {b"newer": b"\x02" + b"\x92\xa2it\x01"})

    with pytest.raises(ValueError, match="row version 2"):
        TtlSweeper([table]).step(10, 100)


def test_a_sweep_keeps_pace_with_the_rows_that_are_written_where_it_sweeps() -> None:
    sweeper = TtlSweeper([filled(EXPIRING), filled(LASTING)])

    assert sweeper.written({"expiring": {b"a": b"", b"b": None}, "lasting": {b"c": b""}}) == 2


def test_after_the_last_row_the_next_table_has_its_turn_and_then_the_first_again() -> None:
    rows = MemoryRows()
    first, second = Table(EXPIRING, rows), filled(EXPIRING, b=1)
    first.put(b"a", Remembered("it", 1))
    store(first, rows)
    sweeper = TtlSweeper([first, second])
    sweeper.step(10, 5)
    sweeper.step(10, 5)
    store(first, rows)
    first.put(b"c", Remembered("it", 1))
    store(first, rows)
    sweeper.step(10, 5)

    assert (keys(first), keys(second)) == ([], [])
