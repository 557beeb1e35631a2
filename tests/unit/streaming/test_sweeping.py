"""Sweeping: what expired goes, what is remembered stays, a bounded step at a time."""

from msgspec import Struct

from app.streaming.sweeping import Sweeper
from tables.rows import MemoryRows
from tables.table import Table, TableSpec


class Remembered(Struct, frozen=True, array_like=True):
    until: int | None


EXPIRING: TableSpec[Remembered] = TableSpec("expiring", Remembered, expires=lambda row: row.until)
LASTING: TableSpec[Remembered] = TableSpec("lasting", Remembered)


def filled(spec: TableSpec[Remembered], **untils: int | None) -> Table[Remembered]:
    table = Table(spec, MemoryRows())
    for key, until in untils.items():
        table.put(key.encode(), Remembered(until))
    return table


def keys(table: Table[Remembered]) -> list[bytes]:
    return [key for key, _ in table.scan(b"", None)]


def test_only_what_expired_before_now_is_deleted() -> None:
    table = filled(EXPIRING, past=9, now=10, later=11, never=None)

    assert Sweeper([table]).step(10, 100) == 1
    assert keys(table) == [b"later", b"never", b"now"]


def test_rows_of_a_table_without_expiry_are_left_alone() -> None:
    table = filled(LASTING, past=1)

    assert Sweeper([table]).step(10, 100) == 0
    assert keys(table) == [b"past"]


def test_a_step_looks_at_no_more_rows_than_it_may_and_the_next_goes_on_there() -> None:
    table = filled(EXPIRING, **{f"k{n}": 1 for n in range(5)})
    sweeper = Sweeper([table])

    assert [sweeper.step(10, 2) for _ in range(3)] == [2, 2, 1]
    assert keys(table) == []


def test_after_the_last_row_the_next_table_has_its_turn_and_then_the_first_again() -> None:
    first, second = filled(EXPIRING, a=1), filled(EXPIRING, b=1)
    sweeper = Sweeper([first, second])
    sweeper.step(10, 5)
    sweeper.step(10, 5)
    first.put(b"c", Remembered(1))
    sweeper.step(10, 5)

    assert (keys(first), keys(second)) == ([], [])
