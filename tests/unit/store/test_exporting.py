"""Exports: whole files, counted against their source, that hold nothing of users but the pseudonymous id."""

import random
import re
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from clickhouse_connect.driver import AsyncClient
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet  # type: ignore[import-untyped]

from app.store.exporting import (
    MANIFEST,
    SOURCES,
    Export,
    ExportFailed,
    Folder,
    Format,
    Manifest,
    Piece,
    count_rows,
    days,
    pieces,
)
from schemas.instants import parse_ms
from tests.unit.store.conftest import event, store
from tests.unit.store.history import BEGIN, history
from tests.unit.store.test_states import write

FROM, TO = parse_ms("2026-10-31T00:00:00Z"), parse_ms("2026-11-20T00:00:00Z")
SECRET = "Planted-4711"


class Watched(Folder):
    """Notes which files are written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.written: list[str] = []

    async def write(self, name: str, content: bytes) -> None:
        await super().write(name, content)
        if name != MANIFEST:
            self.written.append(name)


async def export(client: AsyncClient, place: Folder, table: str = "lifecycle", format: Format = "parquet") -> Manifest:
    return await Export(client, place, lambda done, of: None).run(table, format, FROM, TO)


@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
async def test_a_manifest_counts_what_the_source_has(client: AsyncClient, tmp_path: Path, format: Format) -> None:
    events = history(random.Random(1))
    await write(client, [*events, *events[:9]])

    for table in SOURCES:
        manifest = await export(client, Folder(tmp_path / table), table, format)
        there = int(str(await client.command(f"SELECT count() FROM {SOURCES[table].origin}")))
        assert (manifest.rows, manifest.complete) == (there, True), table
        assert msgspec.json.decode((tmp_path / table / MANIFEST).read_bytes(), type=Manifest) == manifest
    assert manifest.rows > 0


async def test_files_hold_no_detail_and_nothing_that_came_of_a_user(client: AsyncClient, tmp_path: Path) -> None:
    told = {"channel": "push", "send_id": "s", "provider_message_id": SECRET, "detail": {"device_id": SECRET}}
    await store(client, event("sent", 5, **told), event("opened", 9, **told, reason=SECRET))

    for format in ("parquet", "jsonl"):
        await Export(client, Folder(tmp_path / format), lambda done, of: None).run("lifecycle", format, TO, TO + 10**8)

    [file] = (tmp_path / "parquet").glob("*.parquet")
    assert "u" in str(parquet.read_table(file).column("user_id"))
    assert not {"detail", "provider_message_id"} & set(parquet.read_table(file).column_names)
    assert SECRET not in str(parquet.read_table(file).to_pydict())
    assert SECRET not in next((tmp_path / "jsonl").glob("*.jsonl")).read_text()


async def test_an_export_again_writes_only_what_is_missing_damaged_or_changed(
    client: AsyncClient, tmp_path: Path
) -> None:
    await write(client, history(random.Random(2)))
    whole = await export(client, Folder(tmp_path))
    names = [file.name for file in whole.files]
    assert len(names) > 2
    (tmp_path / names[0]).unlink()
    (tmp_path / names[1]).write_bytes(b"damaged")
    again = Watched(tmp_path)
    assert await export(client, again) == whole
    assert again.written == names[:2]

    late = event("opened", occurred_at="2026-11-19T10:00:00Z")
    await store(client, late)
    changed = Watched(tmp_path)
    assert (await export(client, changed)).rows == whole.rows + (BEGIN < TO)
    assert changed.written == ["lifecycle-2026-11-19T000000.parquet"]


async def test_a_folder_with_another_export_is_refused(client: AsyncClient, tmp_path: Path) -> None:
    await export(client, Folder(tmp_path))
    with pytest.raises(ExportFailed, match="another export is there"):
        await export(client, Folder(tmp_path), "decisions")


@given(st.integers(0, 10**12), st.integers(1, 10**10), st.sampled_from([1, 10**6, 10**8]))
def test_the_files_of_a_range_cover_it_without_overlap(begin: int, length: int, rows: int) -> None:
    spans = list(days(begin, begin + length))
    assert spans[0][0] == begin
    assert spans[-1][1] == begin + length
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    found: list[Piece] = list(pieces("lifecycle", "csv", *spans[0], rows))
    assert len({piece.name for piece in found}) == len(found)
    for value in ("0a", "ff", "zz", "7", "7z", ""):
        inside = [
            p.prefix is None
            or (value.startswith(p.prefix) if p.prefix else not re.match(f"[0-9a-f]{{{p.digits}}}", value))
            for p in found
        ]
        assert inside.count(True) == 1


def test_csv_rows_are_counted_as_a_reader_counts_them() -> None:
    assert count_rows("csv", b'"a","b"\n"1","two\nlines"\n"3","4"\n') == 2
