"""Exports: whole files, counted against their source, that hold nothing of users but the pseudonymous id."""

import hashlib
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

from app.cli.export import export as command
from app.cli.output import Refused
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
from schemas.instants import parse_ms, rfc3339
from schemas.words import RANK
from tests.unit.store.conftest import event, store
from tests.unit.store.history import history
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


async def test_files_hold_each_event_once_whole_and_as_their_manifest_says(client: AsyncClient, tmp_path: Path) -> None:
    events = history(random.Random(4))
    await write(client, [*events, *events[:9]])
    manifest = await export(client, Folder(tmp_path))

    found = []
    for file in manifest.files:
        content = (tmp_path / file.name).read_bytes()
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        table = parquet.read_table(tmp_path / file.name).to_pylist()
        assert len(table) == file.rows
        assert all(file.begin <= rfc3339(int(row["occurred_at"].timestamp() * 1000)) < file.end for row in table)
        found += [(row["event_id"], row["status"], row["send_id"], row["reason"]) for row in table]
    ours = [
        (e["event_id"], e["status"], e.get("send_id"), e.get("reason"))
        if RANK[e["status"]] < 5 or e["status"] == "bounced"
        else (e["event_id"], e["status"], e.get("send_id"), None)
        for e in events
    ]
    assert sorted(found, key=str) == sorted(ours, key=str)


async def test_a_source_that_loses_rows_meanwhile_leaves_no_complete_manifest(
    client: AsyncClient, tmp_path: Path
) -> None:
    class Losing(Folder):
        async def write(self, name: str, content: bytes) -> None:
            await super().write(name, content)
            await client.command("TRUNCATE TABLE notify.lifecycle")

    await write(client, history(random.Random(4)))
    with pytest.raises(ExportFailed, match="run it again"):
        await export(client, Losing(tmp_path))

    assert not msgspec.json.decode((tmp_path / MANIFEST).read_bytes(), type=Manifest).complete


@pytest.mark.parametrize(
    "path", ["gs://bucket", "file:///tmp/november", "s3://", "s3://Not_A_Name/x", "s3://bucket?x=1", "s3://b@ucket/x"]
)
def test_of_urls_only_a_buckets_is_taken(path: str) -> None:
    with pytest.raises(Refused, match="--to-path: "):
        command("lifecycle", "2026-11-01", "2026-11-02", path)


async def test_files_hold_no_detail_and_nothing_that_came_of_a_user(client: AsyncClient, tmp_path: Path) -> None:
    told = {"channel": "push", "send_id": "s", "provider_message_id": SECRET, "detail": {"device_id": SECRET}}
    await store(client, event("sent", 5, **told), event("opened", 9, **told, reason=SECRET))

    for format in ("parquet", "jsonl"):
        await Export(client, Folder(tmp_path / format), lambda done, of: None).run("lifecycle", format, TO, TO + 10**8)

    [file] = (tmp_path / "parquet").glob("*.parquet")
    assert parquet.read_table(file).column("user_id").to_pylist() == ["u", "u"]
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
    assert (await export(client, changed)).rows == whole.rows + 1
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
