"""Check 2, the state: each table, rebuilt from its changelog as a worker rebuilds it, equals its owner's, row by row.

The owner opens a view: all tables of a partition as they were after one checkpoint, which says how far that had each
changelog. The tables are rebuilt up to there, by the code with which workers restore, and compared in parts: the owner
sends a digest of the next rows behind a key; only where it differs, each row's key and digest.
"""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
import structlog
from aiokafka import TopicPartition

from app.audit.findings import Finding, Progress
from app.audit.recorded import Span, log_reader, read_spans
from app.store.owner_client import OwnerUnavailableError
from app.streaming.restore import Restorer
from app.streaming.store import PartitionStore, block_cache
from app.streaming.views import AUDIT, digest_of
from schemas.topics import changelog_topic, journal_topic

log = structlog.get_logger(__name__)

Item = TypeVar("Item")

#: So many partitions are rebuilt at the same time, each with a RocksDB and a client of its own.
_AT_ONCE = 4
_CACHE_MB = 8
#: A view may go with its owner, or with a compaction: then it is begun anew, so often.
_TRIES = 3
#: After each part the owner is left alone for as long as it took, and no longer than this.
_LONGEST_PAUSE_S = 0.1
#: Differing rows of a partition that are named, with their place in the changelog; the others are counted.
_MOST_PLACED = 100


class ReadsOwners(Protocol):
    """What asks the workers (``app.store.owner_client.OwnerClient``)."""

    async def read_partition(
        self, role: str, partition: int, view: str, params: Mapping[str, str], after: int | None = None
    ) -> Any: ...


@dataclass(frozen=True, slots=True)
class StateTerms:
    """``tables``: of each role. ``settles_s``: so long after it was replaced a row may still lie in its changelog."""

    tables: Mapping[str, Sequence[str]]
    partitions: int
    settles_s: float


class View(msgspec.Struct):
    """A partition's tables at one position. ``tables``: each changelog's offset; ``journal``: entry and claim."""

    view: str
    at: int
    tables: dict[str, int]
    journal: tuple[int, int] | None = None


class _Part(msgspec.Struct):
    rows: int
    digest: str
    last: str | None
    end: bool
    each: list[tuple[str, str]] = []


class ViewGone(Exception):
    """The view was closed, or its owner is another now."""


class _Differing(NamedTuple):
    table: str
    key: bytes
    what: str


class _Placed(NamedTuple):
    """A row's last record in its changelog up to the view's position; whether there is a later one."""

    offset: int | None
    is_replaced: bool


async def check_state(
    client_options: Mapping[str, Any], owners: ReadsOwners, terms: StateTerms, folder: Path, progress: Progress
) -> Finding:
    """``folder``: takes one partition's tables at a time. Raises KafkaError."""
    check = _Check(client_options, owners, terms, folder)
    done, of = 0, len(terms.tables) * terms.partitions

    async def compare(place: tuple[str, int]) -> None:
        nonlocal done
        await check.compare(*place)
        done += 1
        progress(done, of)

    progress(done, of)
    await a_few_at_once(compare, product(terms.tables, range(terms.partitions)))
    finding = check.finding
    if not finding.covered["partitions"]:
        finding.failed = "no worker answers: start the roles, or see `tocsin doctor`"
    return finding


async def a_few_at_once(do: Callable[[Item], Awaitable[None]], items: Iterable[Item]) -> None:
    """Most of the time is spent waiting for the broker and for owners. The first error ends all."""
    left = iter(items)

    async def go_on() -> None:
        for item in left:
            await do(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(go_on())


@dataclass(slots=True)
class _Check:
    client_options: Mapping[str, Any]
    owners: ReadsOwners
    terms: StateTerms
    folder: Path
    finding: Finding = field(default_factory=lambda: Finding("state"))

    async def compare(self, role: str, partition: int) -> None:
        for _ in range(_TRIES):
            try:
                await self._compare_once(role, partition)
                return
            except OwnerUnavailableError as error:
                log.warning("a partition isn't compared", role=role, partition=partition, reason=str(error))
                break
            except ViewGone:
                continue
        self.finding.not_covered[f"partitions of {role} that nobody could show"] += 1

    async def _compare_once(self, role: str, partition: int) -> None:
        began = time.monotonic()
        view = await begin_view(self.owners, role, partition)
        folder = self.folder / f"{role}-{partition}"
        store = PartitionStore(folder, block_cache(_CACHE_MB))
        try:
            await rebuild(self.client_options, role, partition, view, store)
            differing: list[_Differing] = []
            rows = 0
            for table in view.tables:
                rows += await self._compare_table(role, partition, view, table, store, differing)
            await end_view(self.owners, role, partition, view)
        finally:
            store.close()
            shutil.rmtree(folder, ignore_errors=True)
        self.finding.covered["partitions"] += 1
        self.finding.covered["tables"] += len(view.tables)
        self.finding.covered["rows"] += rows
        is_late = time.monotonic() - began > self.terms.settles_s
        await self._report(role, partition, view, differing, is_late)

    async def _ask(self, role: str, partition: int, params: Mapping[str, str]) -> Any:
        return await _ask(self.owners, role, partition, params)

    # --- comparing ---

    async def _compare_table(
        self, role: str, partition: int, view: View, table: str, store: PartitionStore, differing: list[_Differing]
    ) -> int:
        """Returns how many rows the owner has."""
        behind: bytes | None = None
        count = 0
        while True:
            asked = {"do": "part", "view": view.view, "table": table}
            if behind is not None:
                asked["behind"] = behind.hex()
            began = time.monotonic()
            part = msgspec.convert(await self._ask(role, partition, asked), _Part)
            count += part.rows
            last = None if part.end or part.last is None else bytes.fromhex(part.last)
            if _digest(store, table, behind, last) != part.digest:
                each = msgspec.convert(await self._ask(role, partition, {**asked, "each": "1"}), _Part)
                live = {bytes.fromhex(key): digest for key, digest in each.each}
                for found in _differences(table, live, _rows(store, table, behind, last)):
                    if len(differing) < _MOST_PLACED:
                        differing.append(found)
                    else:
                        self.finding.count += 1
            if last is None:
                return count
            behind = last
            await asyncio.sleep(min(time.monotonic() - began, _LONGEST_PAUSE_S))

    # --- reporting ---

    async def _report(
        self, role: str, partition: int, view: View, differing: Sequence[_Differing], is_late: bool
    ) -> None:
        by_table: dict[str, dict[bytes, str]] = {}
        for table, key, what in differing:
            by_table.setdefault(table, {})[key] = what
        for table, found in by_table.items():
            topic, end = changelog_topic(role, table), view.tables[table]
            placed = await self._placed(TopicPartition(topic, partition), set(found), end)
            for key, what in found.items():
                at = placed.get(key, _Placed(None, False))
                if is_late and at.is_replaced:
                    # Compaction may have taken the record that the owner had then.
                    self.finding.not_covered["rows that were replaced while they were compared"] += 1
                    continue
                what = f"{what}, at offset {end} of the changelog"
                self.finding.differs(topic, partition, key, at.offset, what)

    async def _placed(self, place: TopicPartition, keys: set[bytes], end: int) -> dict[bytes, _Placed]:
        found: dict[bytes, _Placed] = {}
        async with log_reader(self.client_options, isolation_level="read_uncommitted") as consumer:
            begin = (await consumer.beginning_offsets([place]))[place]
            now = (await consumer.end_offsets([place]))[place]
            async for _, records in read_spans(consumer, {place: Span(begin, now, begin)}):
                for record in records:
                    if record.key in keys:
                        before = found.get(record.key, _Placed(None, False))
                        is_later = record.offset >= end
                        found[record.key] = _Placed(before.offset if is_later else record.offset, is_later)
        return found


async def begin_view(owners: ReadsOwners, role: str, partition: int) -> View:
    """Raises ViewGone where none can be opened just now, OwnerUnavailableError."""
    return msgspec.convert(await _ask(owners, role, partition, {"do": "begin"}), View)


async def end_view(owners: ReadsOwners, role: str, partition: int, view: View) -> None:
    """Raises ViewGone, OwnerUnavailableError."""
    await _ask(owners, role, partition, {"do": "end", "view": view.view})


async def rebuild(
    client_options: Mapping[str, Any], role: str, partition: int, view: View, store: PartitionStore
) -> None:
    """Fills an empty store from the changelogs, up to where the view stands. Raises KafkaError."""
    changelogs = {table: changelog_topic(role, table) for table in view.tables}
    await Restorer(client_options, changelogs, journal_topic(role)).restore(store, partition, until=view.tables)


async def _ask(owners: ReadsOwners, role: str, partition: int, params: Mapping[str, str]) -> Any:
    answer = await owners.read_partition(role, partition, AUDIT, params)
    if answer is None:
        raise ViewGone
    return answer


def _rows(store: PartitionStore, table: str, behind: bytes | None, last: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    """Rows behind one key, up to and with another; None: from the first, to the last."""
    start = b"" if behind is None else behind + b"\0"
    return store.scan(table, start, None if last is None else last + b"\0")


def _digest(store: PartitionStore, table: str, behind: bytes | None, last: bytes | None) -> str:
    return digest_of(_rows(store, table, behind, last))


def _differences(table: str, live: Mapping[bytes, str], rebuilt: Iterator[tuple[bytes, bytes]]) -> Iterator[_Differing]:
    left = dict(live)
    for key, value in rebuilt:
        digest = left.pop(key, None)
        if digest is None:
            yield _Differing(table, key, "the row is in the changelog, and its owner has none")
        elif digest != digest_of([(key, value)]):
            yield _Differing(table, key, "the row's owner has another value than the changelog")
    for key in left:
        yield _Differing(table, key, "the row's owner has it, and the changelog doesn't")
