"""The router's tables as they were: copies from which a later audit decides again.

They lie in ``data.dir/audit``, a folder for each partition. They count as tables for erasure: a copy is used, and kept,
no longer than a store that nobody keeps up to date is; then the next audit, or any worker of the machine, deletes it.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from app.audit.decisions import StoredState
from app.audit.state import ReadsOwners, ViewGone, a_few_at_once, begin_view, end_view, rebuild
from app.private import write_private
from app.store.owner_client import OwnerUnavailableError
from app.streaming.store import PartitionStore, StoreBroken, block_cache, set_aside_abandoned

log = structlog.get_logger(__name__)

ROLE = "router"
_CACHE_MB = 8
_ABOUT = "about.json"
_ROWS = "rows"


class _About(msgspec.Struct):
    """``journal``: the last entry whose effects the copy holds; ``at``: when that was, Unix ms."""

    journal: int
    at: int


@dataclass(frozen=True, slots=True)
class StoredStates:
    """``keep_s``: how old a copy may become."""

    folder: Path
    partitions: int
    keep_s: float

    def remove_old(self, now_ms: int) -> None:
        """Deletes copies that are too old, and those that an audit didn't finish."""
        for folder in set_aside_abandoned(self.folder, (), now_ms / 1000, self.keep_s):
            shutil.rmtree(folder, ignore_errors=True)
        for partition in range(self.partitions):
            about = self._about(partition)
            if about is None or now_ms - about.at > self.keep_s * 1000:
                self.remove(partition)

    def missing(self) -> list[int]:
        return [partition for partition in range(self.partitions) if self._about(partition) is None]

    def remove(self, partition: int) -> None:
        shutil.rmtree(self._place(partition), ignore_errors=True)

    async def store(self, client_options: Mapping[str, Any], owners: ReadsOwners, partitions: Sequence[int]) -> None:
        """Copies the tables of these partitions, as their owners have them now. What can't be shown is left out.

        Raises KafkaError.
        """
        await a_few_at_once(lambda partition: self._store(client_options, owners, partition), partitions)

    async def _store(self, client_options: Mapping[str, Any], owners: ReadsOwners, partition: int) -> None:
        self.remove(partition)
        try:
            view = await begin_view(owners, ROLE, partition)
            await end_view(owners, ROLE, partition, view)
        except (ViewGone, OwnerUnavailableError) as error:
            log.warning("a partition's state isn't stored", partition=partition, reason=str(error))
            return
        if view.journal is None:
            return
        store = PartitionStore(self._place(partition) / _ROWS, block_cache(_CACHE_MB))
        try:
            await rebuild(client_options, ROLE, partition, view, store)
            store.flush()
        finally:
            store.close()
        write_private(self._place(partition) / _ABOUT, msgspec.json.encode(_About(view.journal[0], view.at)))

    @contextmanager
    def opened(self) -> Iterator[list[StoredState]]:
        """The copies. What is decided again changes them, so they are deleted at the end."""
        states: list[StoredState] = []
        try:
            for partition in range(self.partitions):
                about = self._about(partition)
                if about is not None:
                    try:
                        store = PartitionStore(self._place(partition) / _ROWS, block_cache(_CACHE_MB))
                    except StoreBroken as error:  # another audit has it, say
                        log.warning("a stored state can't be used", partition=partition, reason=str(error))
                    else:
                        states.append(StoredState(partition, store, about.journal, about.at))
            yield states
        finally:
            for state in states:
                state.store.close()
                self.remove(state.partition)

    def _place(self, partition: int) -> Path:
        return self.folder / f"{ROLE}-{partition}"

    def _about(self, partition: int) -> _About | None:
        try:
            return msgspec.json.decode((self._place(partition) / _ABOUT).read_bytes(), type=_About)
        except (OSError, msgspec.MsgspecError):
            return None
