"""A view shows all tables at one position, in bounded parts, and never outlives a compaction, its store or its time."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.streaming.journal import JournalPosition
from app.streaming.store import PartitionStore, Reached, block_cache
from app.streaming.views import _OPEN_MS, _PART_BYTES, _PART_ROWS, TableViews, digest_of
from schemas.decode import Invalid

TABLES = ("profiles", "tokens")


@pytest.fixture
def store(tmp_path: Path) -> PartitionStore:
    store = PartitionStore(tmp_path / "tables" / "0", block_cache(1))
    rows: dict[bytes, bytes | None] = {b"%05d" % n: b"row %d" % n for n in range(2 * _PART_ROWS + 7)}
    store.write({"profiles": rows}, {"profiles": Reached(99)}, JournalPosition(7, 3))
    return store


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def views(store: PartitionStore, clock: Clock) -> TableViews:
    return TableViews(store, TABLES, clock)


async def begun(views: TableViews) -> dict[str, Any]:
    asking = asyncio.create_task(views.answer({"do": "begin"}))
    await asyncio.sleep(0)
    assert not asking.done()  # only between two checkpoints
    views.step()
    answer = await asking
    assert answer is not None
    return answer


async def all_parts(views: TableViews, name: str, table: str) -> list[Mapping[str, Any]]:
    parts: list[Mapping[str, Any]] = []
    while not parts or not parts[-1]["end"]:
        behind = {"behind": parts[-1]["last"]} if parts else {}
        part = await views.answer({"do": "part", "view": name, "table": table, "each": "1", **behind})
        assert part is not None
        parts.append(part)
    return parts


async def test_a_view_says_at_which_position_it_stands(views: TableViews) -> None:
    answer = await begun(views)

    assert answer["tables"] == {"profiles": 99, "tokens": 0}
    assert answer["journal"] == [7, 3]


async def test_what_is_written_later_is_not_in_the_view(store: PartitionStore, views: TableViews) -> None:
    rows = list(store.scan("profiles", b"", None))
    name = (await begun(views))["view"]
    store.write({"profiles": {b"00001": b"changed", b"00002": None, b"x": b"new"}}, {"profiles": Reached(102)})
    parts = await all_parts(views, name, "profiles")

    assert sum(part["rows"] for part in parts) == len(rows)
    assert len(parts) == 3
    assert parts[0]["digest"] == digest_of(rows[:_PART_ROWS])
    assert [key for part in parts for key, _ in part["each"]] == [key.hex() for key, _ in rows]


async def test_a_table_without_rows_has_one_part_that_is_its_end(views: TableViews) -> None:
    [part] = await all_parts(views, (await begun(views))["view"], "tokens")

    assert (part["rows"], part["last"], part["digest"]) == (0, None, digest_of([]))


async def test_a_part_is_bounded_in_bytes(store: PartitionStore, views: TableViews) -> None:
    store.write({"tokens": {b"%02d" % n: bytes(_PART_BYTES // 2 + 1) for n in range(6)}}, {})

    parts = await all_parts(views, (await begun(views))["view"], "tokens")
    assert [part["rows"] for part in parts] == [2, 2, 2]


async def test_a_compaction_closes_views_so_that_nothing_deleted_outlives_it(
    store: PartitionStore, views: TableViews, tmp_path: Path
) -> None:
    secret = b"a value that nobody else would write"
    store.write({"tokens": {b"t": secret}}, {})
    store.flush()
    name = (await begun(views))["view"]
    store.write({"tokens": {b"t": None}}, {})
    store.compact()

    assert await views.answer({"do": "part", "view": name, "table": "tokens"}) is None
    assert not [file for file in (tmp_path / "tables" / "0").glob("*.sst") if secret in file.read_bytes()]


async def test_a_view_is_given_up_after_a_while(views: TableViews, clock: Clock) -> None:
    name = (await begun(views))["view"]
    clock.now += _OPEN_MS
    views.step()

    assert await views.answer({"do": "part", "view": name, "table": "tokens"}) is None


async def test_of_too_many_views_the_oldest_goes(views: TableViews, clock: Clock) -> None:
    names = []
    for _ in range(3):
        clock.now += 1
        names.append((await begun(views))["view"])
    answers = [await views.answer({"do": "part", "view": name, "table": "tokens"}) for name in names]

    assert [answer is None for answer in answers] == [True, False, False]


async def test_a_store_closes_with_its_views(store: PartitionStore, views: TableViews) -> None:
    name = (await begun(views))["view"]
    store.close()

    assert await views.answer({"do": "part", "view": name, "table": "tokens"}) is None


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "do"),
        ({"do": "everything"}, "do"),
        ({"do": "part", "table": "nowhere"}, "table"),
        ({"do": "part", "table": "tokens", "behind": "no hex"}, "behind"),
        ({"do": "part", "table": "tokens", "behind": "00" * 5000}, "behind"),
    ],
)
async def test_what_can_not_be_asked_is_refused_with_its_name(
    views: TableViews, params: dict[str, str], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await views.answer(params)

    assert refused.value.field == field
