"""One partition's tables as they were after a checkpoint, while its owner goes on: what an audit compares.

A view is a RocksDB iterator, so all tables in it stand at one position. It is read in small parts, each bounded in rows
and bytes, so that the partition waits for none longer than a moment; and it is given up after a while, or when the
store is compacted, as deleted rows must not outlive that (docs/decisions/0021-audit.md).
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any

from app.streaming.store import PartitionStore, StoreBroken, StoreView, ViewClosed
from schemas.decode import Invalid

#: The name by which a view is read on the operations port.
AUDIT = "audit"
#: A view's life, and how many a partition has at a time: each keeps replaced rows on disk.
_OPEN_MS, _MOST_VIEWS = 900_000, 2
#: What one part holds at most; at least one row.
_PART_ROWS, _PART_BYTES = 1_000, 256 * 1024
_MOST_KEY_BYTES = 4 * 1024

Row = tuple[bytes, bytes]


class TableViews:
    """The open views of one partition. ``clock``: Unix ms."""

    def __init__(self, store: PartitionStore, tables: Sequence[str], clock: Callable[[], int]) -> None:
        self._store = store
        self._tables = tuple(tables)
        self._clock = clock
        self._open: dict[str, tuple[int, StoreView]] = {}
        self._wanted: list[asyncio.Future[dict[str, Any] | None]] = []

    async def answer(self, params: Mapping[str, str]) -> dict[str, Any] | None:
        """``do``: ``begin`` opens a view, ``end`` closes it, ``part`` reads the next rows of a ``table`` behind a key.

        None: the view is gone, or none can be opened now. Raises Invalid.
        """
        match params.get("do"):
            case "begin":
                wanted: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
                self._wanted.append(wanted)
                return await wanted
            case "end":
                self._close(params.get("view", ""))
                return {}
            case "part":
                return self._part(params)
            case _:
                raise Invalid("is not one of begin, part, end", "do")

    def step(self) -> None:
        """To be called often, between checkpoints: only then is the store at one position."""
        now = self._clock()
        for name, (opened_ms, view) in list(self._open.items()):
            if view.is_closed or not opened_ms <= now < opened_ms + _OPEN_MS:
                self._close(name)
        wanted, self._wanted = self._wanted, []
        for future in wanted:
            if not future.done():
                future.set_result(self._begin(now))

    def close(self) -> None:
        for name in list(self._open):
            self._close(name)
        for future in self._wanted:
            if not future.done():
                future.set_result(None)

    def _begin(self, now: int) -> dict[str, Any] | None:
        if len(self._open) >= _MOST_VIEWS:
            self._close(min(self._open, key=lambda name: self._open[name][0]))
        view = self._store.view()
        if view is None:
            return None
        name = secrets.token_hex(8)
        self._open[name] = (now, view)
        journal = view.journal_position()
        return {
            "view": name,
            "at": now,
            "journal": None if journal is None else [journal.entry, journal.claim],
            "tables": {table: view.reached(table).offset for table in self._tables},
        }

    def _part(self, params: Mapping[str, str]) -> dict[str, Any] | None:
        table, behind = params.get("table", ""), _key(params.get("behind"))
        if table not in self._tables:
            raise Invalid("is not a table of this role", "table")
        opened = self._open.get(params.get("view", ""))
        if opened is None:
            return None
        with suppress(ViewClosed, StoreBroken):
            rows, is_end = opened[1].part(table, behind, _PART_ROWS, _PART_BYTES)
            answer: dict[str, Any] = {
                "rows": len(rows),
                "digest": digest_of(rows),
                "last": rows[-1][0].hex() if rows else None,
                "end": is_end,
            }
            if params.get("each"):
                answer["each"] = [[key.hex(), digest_of([(key, value)])] for key, value in rows]
            return answer
        return None

    def _close(self, name: str) -> None:
        _, view = self._open.pop(name, (0, None))
        if view is not None:
            view.close()


def digest_of(rows: Iterable[Row]) -> str:
    """Of rows in the order of their keys."""
    digest = blake2b(digest_size=16)
    for key, value in rows:
        digest.update(len(key).to_bytes(4, "big") + len(value).to_bytes(4, "big"))
        digest.update(key)
        digest.update(value)
    return digest.hexdigest()


def _key(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise Invalid("isn't a key in hexadecimal", "behind") from None
    if len(key) > _MOST_KEY_BYTES:
        raise Invalid("is too long", "behind")
    return key
