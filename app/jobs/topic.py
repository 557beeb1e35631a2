"""The jobs of one kind as a compacted topic has them: each gateway follows it and keeps all of it in memory.

A record's key is ``KIND/NAME`` or ``KIND/NAME/PART``: what kind of fact about which job. What is ``Known`` of a job is
folded from its records.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

import structlog

from app.ports import Guard, LogRecord, Publisher
from app.store.follower import TopicFollower
from schemas.decode import Invalid

log = structlog.get_logger(__name__)

Known = TypeVar("Known")

#: All records of such a topic are in one partition, so that they have one order.
PARTITION = 0


class JobsTopic(ABC, Generic[Known]):
    """Reads and writes the topic. ``nothing``: what is known of a job that was never asked for; ``clock``: Unix
    milliseconds.

    What writes returns when the record is acknowledged and known here; raises PublishError, and TimeoutError where it
    isn't known after a while.
    """

    def __init__(
        self,
        topic: str,
        nothing: Known,
        client_options: Mapping[str, Any],
        publisher: Publisher,
        clock: Callable[[], int],
        guard: Guard | None = None,
    ) -> None:
        self._topic = topic
        self._nothing = nothing
        self._follower = TopicFollower(client_options, topic, self.take, guard=guard)
        self._publisher = publisher
        self._clock = clock
        self._known: dict[str, Known] = {}
        self._read_to = -1
        #: Set with everything that is taken; whoever runs the jobs waits for it, and clears it.
        self.changed = asyncio.Event()

    async def start(self) -> None:
        await self._follower.start()

    async def close(self) -> None:
        await self._follower.close()

    def take(self, record: LogRecord) -> None:
        """Takes the next record of the topic."""
        if record.offset <= self._read_to:  # the topic is read again: what is known is newer
            return
        self._read_to = record.offset
        kind, _, rest = (record.key or b"").partition(b"/")
        name, _, part = rest.decode(errors="replace").partition("/")
        try:
            known = self._taken(self._known.get(name, self._nothing), kind + b"/", part, record.value)
        except Invalid as invalid:
            log.warning("a job's record can't be read", topic=self._topic, offset=record.offset, reason=str(invalid))
            return
        if known == self._nothing:
            self._known.pop(name, None)
        else:
            self._known[name] = known
        self.changed.set()

    def get(self, name: str) -> Known | None:
        """None: there is none, or it is no longer kept."""
        known = self._known.get(name)
        return known if known is not None and self._is_kept(known) else None

    def kept(self) -> Collection[Known]:
        """All that are kept, in no order."""
        return [known for known in self._known.values() if self._is_kept(known)]

    def newest(self) -> list[Known]:
        """All that are kept, newest first."""
        kept = [(self._asked_at(known), name, known) for name, known in self._known.items() if self._is_kept(known)]
        return [known for _, _, known in sorted(kept, key=lambda each: each[:2], reverse=True)]

    def over(self) -> list[str]:
        """Those that are no longer kept but are still in the topic."""
        return [
            name for name, known in self._known.items() if self._asked_at(known) is not None and self._is_over(known)
        ]

    def _is_kept(self, known: Known) -> bool:
        return self._asked_at(known) is not None and not self._is_over(known)

    @abstractmethod
    def _taken(self, known: Known, kind: bytes, part: str, value: bytes | None) -> Known:
        """``known`` with the next record of its job; the same where the kind is of a later version. Raises Invalid."""

    @abstractmethod
    def _asked_at(self, known: Known) -> int | None:
        """When the job was asked for, in Unix milliseconds; None: that isn't known (any more)."""

    @abstractmethod
    def _is_over(self, known: Known) -> bool:
        """Whether a job that was asked for has been kept for long enough."""

    async def _write(self, kind: bytes, name: str, value: bytes | None) -> None:
        _, offset = await self._publisher.publish(self._topic, kind + name.encode(), value, partition=PARTITION)
        await self._follower.reached(offset)
