"""The group's positions: noted by every checkpoint, committed together a few times a second."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import structlog
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.types import TP

from app.streaming.failpoints import reach
from app.streaming.journal import JournalPosition
from app.streaming.restore import Committed, latest
from app.streaming.stall_detection import Progress

log = structlog.get_logger(__name__)

_EVERY_S = 0.2
_JOURNAL = "journal:"
_NOWHERE = JournalPosition(-1, -1)


class GroupMember(Protocol):
    """What is needed of the consumer that is in the group (``CheckpointConsumerThread``)."""

    async def commit_positions(self, positions: Mapping[TP, OffsetAndMetadata]) -> None: ...

    async def fetch_committed(self, tps: list[TP]) -> dict[TP, OffsetAndMetadata]: ...


class Committer:
    """A commit is only a hint: the journal and the store know better, so it may lag but never runs ahead."""

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics
        self._member: GroupMember | None = None
        self._noted: dict[TP, OffsetAndMetadata] = {}
        self._committed: dict[TP, OffsetAndMetadata] = {}
        self._journal: dict[int, JournalPosition] = {}
        self._commits = 0
        self._lock = asyncio.Lock()

    def join(self, member: GroupMember) -> None:
        self._member = member

    async def committed(self, partition: int) -> dict[str, Committed]:
        """Where the group stands in each topic of the partition; topics never committed are left out."""
        assert self._member is not None
        found = await self._member.fetch_committed([TP(topic, partition) for topic in self._topics])
        at = {
            tp.topic: Committed(offset.offset, _journal_of(offset.metadata))
            for tp, offset in found.items()
            if offset.offset >= 0
        }
        last = latest(at.values())
        if last is not None:
            self._journal[partition] = last
        return at

    def note(self, partition: int, positions: Mapping[str, int], journal_position: JournalPosition | None) -> None:
        """Remembers what is to be committed next. ``journal_position`` None: no new entry since the last note."""
        if journal_position is not None:
            self._journal[partition] = journal_position
        last = self._journal.get(partition, _NOWHERE)
        metadata = f"{_JOURNAL}{last.entry}:{last.claim}"
        for topic, position in positions.items():
            self._noted[TP(topic, partition)] = OffsetAndMetadata(position, metadata)

    def progress(self) -> Progress:
        """Whether what is noted gets committed."""
        return Progress(self._commits, any(self._committed.get(tp) != at for tp, at in self._noted.items()))

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        """Commits what was noted and isn't committed. A refusal while the group rebalances is no error: the next
        owner reads the journal."""
        async with self._lock:
            todo = {tp: at for tp, at in self._noted.items() if self._committed.get(tp) != at}
            if not todo or self._member is None:
                return
            reach("before_commit")
            try:
                await self._member.commit_positions(todo)
            except (CommitFailedError, IllegalStateError) as error:
                log.info("a commit was refused during a rebalance", error=str(error))
            except KafkaError as error:
                if not error.retriable:
                    raise
                log.warning("a commit failed: retrying", error=repr(error))
            else:
                self._committed.update(todo)
                self._commits += 1

    def forget(self, partition: int) -> None:
        """The partition is given up: nothing of it may be committed any more."""
        for topic in self._topics:
            self._noted.pop(TP(topic, partition), None)
            self._committed.pop(TP(topic, partition), None)
        self._journal.pop(partition, None)


def _journal_of(metadata: str | None) -> JournalPosition | None:
    if not metadata or not metadata.startswith(_JOURNAL):
        return None
    entry, _, claim = metadata.removeprefix(_JOURNAL).partition(":")
    return JournalPosition(int(entry), int(claim or -1))
