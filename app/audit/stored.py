"""Tables as they were: copies from which a later audit decides again.

They lie in ``data.dir/audit``, a folder for each role and partition. They count as tables for erasure: a copy is used,
and kept, no longer than a store that nobody keeps up to date is; then the next audit, or any worker of the machine,
deletes it.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog

from app.audit.decisions import StoredState
from app.audit.state import ReadsOwners, ViewGone, a_few_at_once, begin_view, end_view, rebuild
from app.private import write_private
from app.store.owner_client import OwnerUnavailableError
from app.streaming.store import PartitionStore, StoreBroken, block_cache, set_aside_abandoned

log = structlog.get_logger(__name__)

_CACHE_MB = 8
_ABOUT = "about.json"
_ROWS = "rows"


class _About(msgspec.Struct):
    """``journal``: the last entry whose effects the copy holds; ``at``: when that was, Unix ms."""

    journal: int
    at: int


class Place(NamedTuple):
    role: str
    partition: int


@dataclass(frozen=True, slots=True)
class StoredStates:
    """``roles``: whose tables are copied. ``keep_s``: how old a copy may become."""

    folder: Path
    roles: Sequence[str]
    partitions: int
    keep_s: float

    @property
    def places(self) -> list[Place]:
        return [Place(role, partition) for partition in range(self.partitions) for role in self.roles]

    def remove_old(self, now_ms: int) -> None:
        """Deletes copies that are too old, and those that an audit didn't finish."""
        for folder in set_aside_abandoned(self.folder, (), now_ms / 1000, self.keep_s):
            shutil.rmtree(folder, ignore_errors=True)
        for place in self.places:
            about = self._about(place)
            if about is None or now_ms - about.at > self.keep_s * 1000:
                self.remove(place)

    def missing(self) -> list[Place]:
        return [place for place in self.places if self._about(place) is None]

    def remove(self, place: Place) -> None:
        shutil.rmtree(self._folder(place), ignore_errors=True)

    async def store(self, client_options: Mapping[str, Any], owners: ReadsOwners, places: Sequence[Place]) -> None:
        """Copies the tables of these partitions, as their owners have them now. What can't be shown is left out.

        Raises KafkaError.
        """
        await a_few_at_once(lambda place: self._store(client_options, owners, place), places)

    async def _store(self, client_options: Mapping[str, Any], owners: ReadsOwners, place: Place) -> None:
        self.remove(place)
        try:
            view = await begin_view(owners, *place)
            await end_view(owners, *place, view)
        except (ViewGone, OwnerUnavailableError) as error:
            log.warning("a partition's state isn't stored", reason=str(error), **place._asdict())
            return
        if view.journal is None:
            return
        store = PartitionStore(self._folder(place) / _ROWS, block_cache(_CACHE_MB))
        try:
            await rebuild(client_options, *place, view, store)
            store.flush()
        finally:
            store.close()
        write_private(self._folder(place) / _ABOUT, msgspec.json.encode(_About(view.journal[0], view.at)))

    @contextmanager
    def opened(self) -> Iterator[list[StoredState]]:
        """The copies. What is decided again changes them, so they are deleted at the end."""
        states: list[StoredState] = []
        try:
            for place in self.places:
                about = self._about(place)
                if about is not None:
                    try:
                        store = PartitionStore(self._folder(place) / _ROWS, block_cache(_CACHE_MB))
                    except StoreBroken as error:  # another audit has it, say
                        log.warning("a stored state can't be used", reason=str(error), **place._asdict())
                    else:
                        states.append(StoredState(*place, store, about.journal, about.at))
            yield states
        finally:
            for state in states:
                state.store.close()
                self.remove(Place(state.role, state.partition))

    def _folder(self, place: Place) -> Path:
        return self.folder / f"{place.role}-{place.partition}"

    def _about(self, place: Place) -> _About | None:
        try:
            return msgspec.json.decode((self._folder(place) / _ABOUT).read_bytes(), type=_About)
        except (OSError, msgspec.MsgspecError):
            return None
