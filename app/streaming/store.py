"""One partition's rows on disk: a RocksDB that is written once a checkpoint and never runs ahead of the log."""

import shutil
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from rocksdict import (
    AccessType,
    BlockBasedIndexType,
    BlockBasedOptions,
    BottommostLevelCompaction,
    Cache,
    CompactOptions,
    DBCompressionType,
    Options,
    Rdict,
    RdictIter,
    WriteBatch,
    WriteOptions,
)

from app.domain.erasure import ERASURES_TABLE
from app.ports import Rows
from app.streaming.epochs import NO_EPOCH, Epoch
from app.streaming.journal import JournalPosition

_MEGABYTE = 1024 * 1024
_OFFSET = b"\0offset\0"
_JOURNAL = b"\0journal"
_TOUCHED = b"\0touched"
_ERASED = b"\0erased"
_RECLAIMED = b"\0reclaimed"
_TWO = Struct(">qq")
_THREE = Struct(">qqq")


#: Tombstones leave a changelog after a day (Kafka's delete.retention.ms); a store that missed them must not be kept.
_TOO_OLD_MS = 12 * 3600 * 1000
_FLUSH_EVERY_MS = 1800 * 1000


#: What is only there to be deleted.
_ASIDE = ".abandoned"

#: Why a store that is sound can't be opened now: another process has it, or the disk is full.
_SOUND = ("/LOCK", "No space left")


class _Prefixes(dict[str, bytes]):
    """What the keys of a table's rows begin with."""

    def __missing__(self, table: str) -> bytes:
        self[table] = prefix = table.encode() + b"\0"
        return prefix


_PREFIXES = _Prefixes()


class Reached(NamedTuple):
    """How far a store has a table's changelog: the next offset, and the highest stamp of what it has."""

    offset: int
    epoch: Epoch = NO_EPOCH


class Reclaimed(NamedTuple):
    """Whoever was erased before ``before_ms`` is gone: the store was compacted at ``store_ms``, and at ``log_ms`` the
    owner saw that the broker had compacted the changelogs and the journal (Unix ms)."""

    before_ms: int
    store_ms: int
    log_ms: int


class ViewClosed(Exception):
    """The view was closed: by whoever opened it, by a compaction, or with the store."""


class StoreBroken(Exception):
    """The folder can't be opened or read as a store: it has to be rebuilt from the log."""


def store_options(cache: Cache) -> Options:
    """Small buffers and one block cache for all partitions of a process, so that hundreds of them fit."""
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_max_open_files(64)
    options.set_write_buffer_size(4 * _MEGABYTE)
    # Rows are looked up one by one and are mostly ids: inflating a block costs more than its bytes on disk.
    options.set_compression_type(DBCompressionType.none())
    options.set_max_write_buffer_number(2)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(_MEGABYTE)
    options.set_max_background_jobs(2)
    blocks = BlockBasedOptions()
    blocks.set_block_cache(cache)
    blocks.set_bloom_filter(10, False)
    blocks.set_cache_index_and_filter_blocks(True)
    # In parts, so that a lookup has a part of them read, not hundreds of kilobytes, when the cache can't hold them all.
    blocks.set_index_type(BlockBasedIndexType.two_level_index_search())
    blocks.set_partition_filters(True)
    blocks.set_pin_top_level_index_and_filter(True)
    options.set_block_based_table_factory(blocks)
    return options


def block_cache(megabytes: int = 32) -> Cache:
    """The block cache that a process's partitions share."""
    return Cache(megabytes * _MEGABYTE)


class PartitionStore(Rows):
    """The rows of one partition, all tables in one RocksDB, so that a checkpoint is one atomic write.

    Beside the rows it keeps how far it has each table's changelog, and the last journal entry whose effects it holds.
    """

    def __init__(self, folder: Path, cache: Cache) -> None:
        """Raises StoreBroken where the folder is there but can't be opened."""
        self.folder = folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = Rdict(str(folder), store_options(cache), access_type=AccessType.read_write())
        except Exception as error:
            raise StoreBroken(f"{folder}: {error}") from error
        # No log of its own: a crash takes the store back to what was flushed last, with the changelogs' offsets of
        # then, and the changelogs have the rest.
        unlogged = WriteOptions()
        unlogged.disable_wal = True
        self._db.set_write_options(unlogged)
        self._flushed_ms: int | None = None
        self._compacting = threading.Lock()
        self._is_closed = False
        self._views: list[StoreView] = []
        self._may_be_viewed = True
        #: Whether users were erased since the latest round of reclaiming began.
        self.reclaim_pending = self._db.get(_ERASED) is not None
        #: How often users were erased in what was written here; a number, so that copies can tell whether to compact.
        self.erasures_seen = int(self.reclaim_pending)

    def get(self, table: str, key: bytes) -> bytes | None:
        """Raises StoreBroken."""
        try:
            value: bytes | None = self._db.get(_PREFIXES[table] + key)
        except Exception as error:
            raise self._broken(error) from error
        return value

    def scan(self, table: str, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Raises StoreBroken."""
        prefix = _PREFIXES[table]
        limit = None if end is None else prefix + end
        last = prefix + start
        for key, value in self._db.items(from_key=last):
            if not key.startswith(prefix) or (limit is not None and key >= limit):
                return
            last = key
            yield key[len(prefix) :], value
        self._is_end(last)

    def _is_end(self, key: bytes) -> None:
        """Raises StoreBroken where it is a block that can't be read that ends the rows there."""
        rows = self._db.iter()
        rows.seek(key)
        while rows.valid():
            rows.next()
        try:
            rows.status()
        except Exception as error:
            raise self._broken(error) from error

    def write(
        self,
        changes: Mapping[str, Mapping[bytes, bytes | None]],
        reached: Mapping[str, Reached],
        journal_position: JournalPosition | None = None,
    ) -> None:
        """All or nothing: rows (None deletes), how far each changelog is had, the journal entry they belong to."""
        batch = WriteBatch(raw_mode=True)
        for table, rows in changes.items():
            prefix = _PREFIXES[table]
            for key, value in rows.items():
                if value is None:
                    batch.delete(prefix + key)
                else:
                    batch.put(prefix + key, value)
        erases = ERASURES_TABLE in changes and any(changes[ERASURES_TABLE].values())
        if erases:
            batch.put(_ERASED, b"1")
        for table, (offset, epoch) in reached.items():
            batch.put(_OFFSET + table.encode(), offset.to_bytes(8, "big") + epoch)
        if journal_position is not None:
            batch.put(_JOURNAL, _TWO.pack(journal_position.entry, journal_position.claim))
        self._db.write(batch)
        if erases:
            self.reclaim_pending = True
            self.erasures_seen += 1

    def view(self) -> "StoreView | None":
        """All rows as they are now; None while the store is compacted."""
        if not self._may_be_viewed or self._is_closed:
            return None
        self._views = [view for view in self._views if not view.is_closed]
        self._views.append(StoreView(self._db))
        return self._views[-1]

    def _close_views(self) -> None:
        for view in self._views:
            view.close()
        self._views = []

    def reclaim_begins(self) -> None:
        """Whoever is erased from here on waits for another round."""
        self.reclaim_pending = False

    def compact(self) -> None:
        """Writes the whole store anew without what was deleted or replaced, file by file; for a thread of its own.

        Views are closed before: what they show would be kept.
        """
        options = CompactOptions()
        options.set_exclusive_manual_compaction(False)
        options.set_bottommost_level_compaction(BottommostLevelCompaction.force())
        with self._compacting:
            if self._is_closed:
                return
            self._may_be_viewed = False
            try:
                self._close_views()
                self._compact_files(options)
            finally:
                self._may_be_viewed = True

    def _compact_files(self, options: CompactOptions) -> None:
        self._db.flush()
        ends = sorted({file["end_key"] for file in self._db.live_files() if file["level"] > 0})
        for start, end in pairwise((None, *ends, None)):
            if self._is_closed:
                return
            self._db.compact_range(start, end, compact_opt=options)

    def note_reclaimed(self, done: Reclaimed, *, is_all: bool) -> None:
        """A round is done. ``is_all``: no other is under way, or pending."""
        batch = WriteBatch(raw_mode=True)
        batch.put(_RECLAIMED, _THREE.pack(*done))
        if is_all:
            batch.delete(_ERASED)
        self._db.write(batch)

    def reclaimed(self) -> Reclaimed | None:
        """The latest round that was done here."""
        value: bytes | None = self._db.get(_RECLAIMED)
        return None if value is None else Reclaimed(*_THREE.unpack(value))

    def reached(self, table: str) -> Reached:
        """How far this store has the table's changelog; a new one has nothing. (Before there were stamps, the offset
        was all that was written.)"""
        return _reached(self._db.get(_OFFSET + table.encode()))

    def journal_position(self) -> JournalPosition | None:
        """The last journal entry that this store holds the rows of."""
        return _journal_position(self._db.get(_JOURNAL))

    def clear(self, tables: Mapping[str, object] | list[str]) -> None:
        """Forgets every row of these tables and how far they were read."""
        for table in tables:
            prefix = _PREFIXES[table]
            self._db.delete_range(prefix, prefix[:-1] + b"\x01")
            self._db.delete(_OFFSET + table.encode())

    def touch(self, now_ms: int) -> None:
        """Notes that it is up to date (Unix ms); one that nobody touched for long is rebuilt when it is opened. Now and
        then that, and all before it, is put where a crash leaves it."""
        self._db.put(_TOUCHED, now_ms.to_bytes(8, "big"))
        if self._flushed_ms is None or now_ms - self._flushed_ms >= _FLUSH_EVERY_MS:
            self._flushed_ms = now_ms
            self.flush()

    def touched_ms(self) -> int | None:
        return self._number(_TOUCHED)

    def flush(self) -> None:
        """Has what is in memory in tables on disk."""
        self._db.flush()

    def close(self) -> None:
        """A compaction that goes on ends with its file."""
        self._is_closed = True
        self._close_views()
        with self._compacting:
            self._db.close()

    def _broken(self, error: Exception) -> StoreBroken:
        """Has the folder rebuilt when it is opened next."""
        _mark(self.folder).write_text(str(error))
        return StoreBroken(f"{self.folder}: {error}")

    def _number(self, key: bytes) -> int | None:
        value: bytes | None = self._db.get(key)
        return None if value is None else int.from_bytes(value, "big")


class StoreView:
    """A store's rows as they were at one moment: a RocksDB iterator shows what was there when it was made. (Those of
    rocksdict's snapshots don't, in 0.3.29.) Closing it waits until nobody reads it."""

    def __init__(self, db: Rdict) -> None:
        self._rows: RdictIter | None = db.iter()
        self._reading = threading.Lock()

    @property
    def is_closed(self) -> bool:
        return self._rows is None

    def close(self) -> None:
        with self._reading:
            self._rows = None

    def part(
        self, table: str, behind: bytes | None, most: int, most_bytes: int
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        """Rows in the order of their keys, and whether they are the table's last. Raises ViewClosed, StoreBroken."""
        prefix, size = _PREFIXES[table], 0
        rows: list[tuple[bytes, bytes]] = []
        with self._reading:
            if (there := self._rows) is None:
                raise ViewClosed
            there.seek(prefix if behind is None else prefix + behind + b"\0")
            while there.valid():
                key, value = there.key(), there.value()
                if not key.startswith(prefix):
                    return rows, True
                if rows and (len(rows) >= most or size >= most_bytes):
                    return rows, False
                rows.append((key[len(prefix) :], value))
                size += len(key) + len(value)
                there.next()
            _check_end(there)
        return rows, True

    def reached(self, table: str) -> Reached:
        """As of the store. Raises ViewClosed, StoreBroken."""
        return _reached(self._get(_OFFSET + table.encode()))

    def journal_position(self) -> JournalPosition | None:
        """As of the store. Raises ViewClosed, StoreBroken."""
        return _journal_position(self._get(_JOURNAL))

    def _get(self, key: bytes) -> bytes | None:
        with self._reading:
            if (there := self._rows) is None:
                raise ViewClosed
            there.seek(key)
            if there.valid():
                return there.value() if there.key() == key else None
            _check_end(there)
            return None


def _check_end(rows: RdictIter) -> None:
    """Raises StoreBroken where it is a block that can't be read that ends the rows there."""
    try:
        rows.status()
    except Exception as error:
        raise StoreBroken(str(error)) from error


def _reached(value: bytes | None) -> Reached:
    value = value or bytes(8)
    return Reached(int.from_bytes(value[:8], "big"), value[8:])


def _journal_position(value: bytes | None) -> JournalPosition | None:
    if value is None:
        return None
    if len(value) == 8:  # as it was written before there were claims
        return JournalPosition(int.from_bytes(value, "big"), -1)
    return JournalPosition(*_TWO.unpack(value))


def open_store(folder: Path, cache: Cache, now_ms: int) -> tuple[PartitionStore, str | None]:
    """Opens a partition's store; one that is broken, or was left alone for too long, is removed, to be rebuilt from the
    log. Returns why, if so. ``now_ms``: Unix ms."""
    mark = _mark(folder)
    if mark.exists():
        why = mark.read_text()
    else:
        try:
            store = PartitionStore(folder, cache)
        except StoreBroken as error:
            if any(sign in str(error) for sign in _SOUND):
                raise
            why = str(error)
        else:
            touched = store.touched_ms()
            if touched is None or now_ms - touched < _TOO_OLD_MS:
                return store, None
            store.close()
            why = "it was left alone for so long that rows may have been deleted meanwhile"
    shutil.rmtree(folder, ignore_errors=True)
    mark.unlink(missing_ok=True)
    return PartitionStore(folder, cache), why


def set_aside_abandoned(tables: Path, used: Collection[str], now_s: float, abandon_s: float) -> list[Path]:
    """Renames the stores in a folder that nobody uses and nobody has written to for so long: what was erased since is
    still in them. Returns what may be deleted. Whatever changes while it is looked at is in use, or gone already."""
    aside = []
    with suppress(FileNotFoundError):
        for folder in list(tables.iterdir()):
            if folder.suffix == _ASIDE:
                aside.append(folder)
            elif folder.is_dir() and folder.name not in used:
                with suppress(FileNotFoundError):
                    if now_s - _last_written_s(folder) > abandon_s:
                        aside.append(folder.rename(folder.with_name(f"{folder.name}-{time.time_ns()}{_ASIDE}")))
    return aside


def _last_written_s(folder: Path) -> float:
    """When something in a folder was written last, Unix s. Raises FileNotFoundError where a file vanishes meanwhile."""
    return max(file.stat().st_mtime for file in (folder, *folder.iterdir()))


def _mark(folder: Path) -> Path:
    """The file that says that a store was found broken while it was used."""
    return folder.with_name(f"{folder.name}.broken")
