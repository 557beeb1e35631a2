"""Exports: a range of a table as files that other tools read, with a manifest of what is in them.

A file is there whole or not at all. Each is counted and compared with its source; an export that was broken off goes on
where it was, and what has changed in the source since is written anew. Nothing that came of a user leaves but the
pseudonymous id.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal, Protocol

import msgspec
from clickhouse_connect.driver import AsyncClient

from app.store.lifecycle_rows import EVENT_COLUMNS
from schemas.instants import rfc3339

Format = Literal["parquet", "csv", "jsonl"]
FORMATS: dict[Format, str] = {"parquet": "Parquet", "csv": "CSVWithNames", "jsonl": "JSONEachRow"}
MANIFEST = "manifest.json"
_DAY_MS = 86_400_000
#: Above this a day is split, so that an answer fits into memory.
_ROWS_A_FILE = 500_000
_ATTEMPTS = 3
_HEX = "0123456789abcdef"

_REASON = "if(rank = 5 AND status != 'bounced', NULL, reason) AS reason"
_EVENTS = ", ".join(
    _REASON if name == "reason" else name for name in EVENT_COLUMNS if name not in ("detail", "provider_message_id")
)


@dataclass(frozen=True, slots=True)
class Source:
    """What a table's export selects: ``at`` is the column that says when, ``split`` one whose text begins in hex."""

    columns: str
    origin: str
    at: str
    split: str | None = None


_HOURLY = ("delivery_hourly", "latency_hourly", "slo_hourly", "provider_hourly", "decisions")
SOURCES: dict[str, Source] = {
    "lifecycle": Source(
        f"{_EVENTS}, cap, machine, recorded_at", "notify.lifecycle FINAL", "occurred_at", "notification_id"
    ),
    "notifications": Source("*", "notify.notifications", "accepted_at", "notification_id"),
    **{name: Source("*", f"notify.{name}", "hour") for name in _HOURLY},
    "users_reached": Source("*", "notify.users_reached", "day"),
}


class File(msgspec.Struct, frozen=True):
    """One file of an export; instants are RFC 3339."""

    name: str
    begin: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")
    rows: int
    bytes: int
    sha256: str


class Manifest(msgspec.Struct):
    """What an export holds, ``complete`` once every file's count was that of the source."""

    table: str
    begin: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")
    format: Format
    files: list[File]
    rows: int = 0
    complete: bool = False


class ExportFailed(Exception):
    """The message says what to do."""


class Place(Protocol):
    """Where the files of an export go. A file is there whole or not at all."""

    async def read(self, name: str) -> bytes | None:
        """None: it isn't there."""
        ...

    async def write(self, name: str, content: bytes) -> None: ...


class Folder:
    """A folder of this machine, made where it isn't there. A file is there whole or not at all. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(parents=True, exist_ok=True)

    async def read(self, name: str) -> bytes | None:
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    async def write(self, name: str, content: bytes) -> None:
        unfinished = self._path / f".{name}.part"
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path / name)


@dataclass(frozen=True, slots=True)
class Piece:
    """What goes into one file. Instants are Unix ms; ``prefix``: how the values of the split column begin (empty: with
    fewer than ``digits`` hex digits; None: anyhow)."""

    name: str
    from_ms: int
    to_ms: int
    prefix: str | None = None
    digits: int = 1

    def where(self, source: Source) -> str:
        inside = f"{source.at} >= {_instant(self.from_ms)} AND {source.at} < {_instant(self.to_ms)}"
        if self.prefix is None:
            return inside
        if self.prefix == "":
            return f"{inside} AND NOT match({source.split}, '^[0-9a-f]{{{self.digits}}}')"
        return f"{inside} AND startsWith({source.split}, '{self.prefix}')"


def days(from_ms: int, to_ms: int) -> Iterator[tuple[int, int]]:
    """The range by UTC days."""
    while from_ms < to_ms:
        end = min(to_ms, (from_ms // _DAY_MS + 1) * _DAY_MS)
        yield from_ms, end
        from_ms = end


def pieces(table: str, format: Format, from_ms: int, to_ms: int, rows: int) -> Iterator[Piece]:
    """A day (or the part of it) in as many files as its rows need."""
    stem = f"{table}-{rfc3339(from_ms)[:19].replace(':', '')}"
    if rows <= _ROWS_A_FILE or SOURCES[table].split is None:
        yield Piece(f"{stem}.{format}", from_ms, to_ms)
        return
    digits = 2 if rows > _ROWS_A_FILE * len(_HEX) else 1
    for prefix in ("", *map("".join, product(_HEX, repeat=digits))):
        yield Piece(f"{stem}-{prefix or 'others'}.{format}", from_ms, to_ms, prefix, digits)


class Export:
    """``progress``: how many days are done, of how many."""

    def __init__(self, client: AsyncClient, place: Place, progress: Callable[[int, int], None]) -> None:
        self._client = client
        self._place = place
        self._progress = progress

    async def run(self, table: str, format: Format, from_ms: int, to_ms: int) -> Manifest:
        """Raises ClickHouseError, ExportFailed, and what the place raises."""
        wanted = Manifest(table, rfc3339(from_ms), rfc3339(to_ms), format, [])
        former = await self._former(wanted)
        span = list(days(from_ms, to_ms))
        counts = await self._counts(table, from_ms, to_ms)
        for number, (begin, end) in enumerate(span):
            rows = counts.get(begin // _DAY_MS, 0)
            for piece in pieces(table, format, begin, end, rows) if rows else ():
                wanted.files.append(await self._file(table, format, piece, former.get(piece.name)))
                wanted.rows = sum(file.rows for file in wanted.files)
                await self._note(wanted)
            self._progress(number + 1, len(span))
        there = await self._count(table, Piece("", from_ms, to_ms))
        if there != wanted.rows:
            raise ExportFailed(
                f"{table} has {there} rows in the range, the files {wanted.rows}: it changed meanwhile; run it again"
            )
        wanted.complete = True
        await self._note(wanted)
        return wanted

    async def _former(self, wanted: Manifest) -> dict[str, File]:
        found = await self._place.read(MANIFEST)
        if found is None:
            return {}
        try:
            manifest = msgspec.json.decode(found, type=Manifest)
        except msgspec.MsgspecError:
            raise ExportFailed(f"{MANIFEST} there can't be read: choose another place") from None
        if (manifest.table, manifest.begin, manifest.end, manifest.format) != (
            *(wanted.table, wanted.begin, wanted.end, wanted.format),
        ):
            raise ExportFailed(
                f"another export is there ({manifest.table} from {manifest.begin} to {manifest.end} as "
                f"{manifest.format}): choose another place"
            )
        return {file.name: file for file in manifest.files}

    async def _file(self, table: str, format: Format, piece: Piece, former: File | None) -> File:
        for _ in range(_ATTEMPTS):
            there = await self._count(table, piece)
            if former is not None and former.rows == there and await self._is_whole(former):
                return former
            content = await self._content(table, format, piece)
            rows = count_rows(format, content)
            if rows == there:
                await self._place.write(piece.name, content)
                digest = hashlib.sha256(content).hexdigest()
                return File(piece.name, rfc3339(piece.from_ms), rfc3339(piece.to_ms), rows, len(content), digest)
        raise ExportFailed(f"{piece.name}: {rows} rows, {there} in the source: it changes still; run it again later")

    async def _is_whole(self, file: File) -> bool:
        content = await self._place.read(file.name)
        return content is not None and hashlib.sha256(content).hexdigest() == file.sha256

    async def _counts(self, table: str, from_ms: int, to_ms: int) -> dict[int, int]:
        """Rows by the number of their day."""
        source = SOURCES[table]
        where = Piece("", from_ms, to_ms).where(source)
        day = f"toRelativeDayNum(assumeNotNull({source.at}))"
        sql = f"SELECT {day}, count() FROM {source.origin} WHERE {where} GROUP BY 1"
        return dict((await self._client.query(sql)).result_rows)

    async def _count(self, table: str, piece: Piece) -> int:
        source = SOURCES[table]
        sql = f"SELECT count() FROM (SELECT 1 FROM {source.origin} WHERE {piece.where(source)})"
        return int(str(await self._client.command(sql)))

    async def _content(self, table: str, format: Format, piece: Piece) -> bytes:
        source = SOURCES[table]
        sql = f"SELECT {source.columns} FROM {source.origin} WHERE {piece.where(source)} ORDER BY {source.at}"
        answer: bytes = await self._client.raw_query(sql, fmt=FORMATS[format], settings=_SETTINGS)
        return answer

    async def _note(self, manifest: Manifest) -> None:
        await self._place.write(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))


_SETTINGS = {
    "date_time_output_format": "iso",
    "output_format_parquet_string_as_string": 1,
    "max_memory_usage": 400_000_000,
}


def count_rows(format: Format, content: bytes) -> int:
    """How many rows a file holds. Raises ExportFailed."""
    if format == "jsonl":
        return content.count(b"\n")
    if format == "csv":
        return _csv_rows(content)
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError:
        raise ExportFailed("parquet needs pyarrow: pip install 'tocsin[embedded]', or --format csv") from None
    rows: int = parquet.ParquetFile(pyarrow.BufferReader(content)).metadata.num_rows
    return rows


def _csv_rows(content: bytes) -> int:
    import csv
    import io

    return max(0, sum(1 for _ in csv.reader(io.StringIO(content.decode("utf-8", "replace"), newline=""))) - 1)


def _instant(ms: int) -> str:
    return f"toDateTime64('{rfc3339(ms)[:-1].replace('T', ' ')}', 3, 'UTC')"


def names() -> Sequence[str]:
    """The tables and views that can be exported."""
    return sorted(SOURCES)
