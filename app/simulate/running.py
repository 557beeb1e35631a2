"""Runs two policies over what is recorded, partition by partition, and compares what each made of it."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka.structs import ConsumerRecord

from app.domain.catalog import Catalog
from app.domain.routing import Providers
from app.scratch import scratch_folder
from app.simulate.comparison import Comparison
from app.simulate.erased import ErasuresFollower
from app.simulate.fates import Fates
from app.simulate.recorded import Recorded
from app.simulate.side import Side
from schemas.topics import EVENT_TOPICS

_REFRESH_S = 10.0
_TELL_EVERY = 500


class NothingRecorded(Exception):
    """There are no requests in the range."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which policies to compare, over what. ``partitions``: how many each topic has. ``secret``: the installation's.
    Times are Unix ms; ``to_ms`` isn't in the range."""

    now: Catalog
    new: Catalog
    providers: Providers
    partitions: int
    from_ms: int
    to_ms: int
    secret: bytes = field(repr=False)
    examples: int = 10


@dataclass(slots=True)
class Answer:
    """``read``: records by topic. ``hidden``: records of users who were erased since. ``refused``: by topic, of the
    side that is in force now. ``first_ms``: when the first request was recorded, Unix ms."""

    comparison: Comparison
    read: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    first_ms: int | None = None

    @property
    def requests(self) -> int:
        return sum(self.read[topic] for topic in EVENT_TOPICS)


#: Told how many records were read, and how many there are.
Progress = Callable[[int, int], None]


async def simulate(client_options: Mapping[str, Any], question: Question, progress: Progress) -> Answer:
    """Reads, decides, compares; writes nothing to Kafka and calls nobody.

    State is kept in temporary folders, so memory stays bounded however long the range is. Raises KafkaError,
    LookupError for a missing topic, NothingRecorded.
    """
    recorded = Recorded(client_options, question.partitions, question.from_ms, question.to_ms)
    try:
        await recorded.start()
        if not recorded.requests:
            raise NothingRecorded
        following = ErasuresFollower(client_options, question.partitions)
        try:
            await following.start()
            return await Simulation(question, recorded, following, progress).run()
        finally:
            await following.close()
    finally:
        await recorded.close()


class Simulation:
    """One run over what was opened; ``simulate`` opens and closes."""

    def __init__(self, question: Question, recorded: Recorded, following: ErasuresFollower, progress: Progress) -> None:
        self._question = question
        self._recorded = recorded
        self._following = following
        self._progress = progress
        self._answer = Answer(Comparison(question.examples))
        self._refreshed = time.monotonic()
        self._count = 0

    async def run(self) -> Answer:
        for partition in range(self._question.partitions):
            with ExitStack() as stack:
                folder = stack.enter_context(scratch_folder("simulate"))
                now, new = (
                    stack.enter_context(closing(self._side(catalog, partition, folder / name)))
                    for name, catalog in (("now", self._question.now), ("new", self._question.new))
                )
                await self._partition(partition, now, new)
        self._answer.comparison.leave_out(self._following.erasures)
        self._progress(self._recorded.total, self._recorded.total)
        return self._answer

    def _side(self, catalog: Catalog, partition: int, folder: Path) -> Side:
        asked = self._question
        return Side(catalog, asked.providers, asked.partitions, partition, folder, asked.secret)

    async def _partition(self, partition: int, now: Side, new: Side) -> None:
        sides = (now, new)
        async for moment, record in self._recorded.read(partition):
            await self._told(partition, sides)
            if self._following.erasures.hides(record):
                self._answer.hidden += 1
                continue
            self._note(record)
            for side in sides:
                side.until(moment)
                side.take(record)
        for side in sides:
            side.until(self._question.to_ms)
        await self._refresh(partition, sides)
        self._answer.refused.update(now.refused)
        for user_id, fates_now, fates_new in side_by_side(now.fates(), new.fates()):
            self._answer.comparison.add(user_id, fates_now, fates_new)

    def _note(self, record: ConsumerRecord) -> None:
        answer = self._answer
        answer.read[record.topic] += 1
        if record.topic in EVENT_TOPICS and (answer.first_ms is None or record.timestamp < answer.first_ms):
            answer.first_ms = record.timestamp

    async def _told(self, partition: int, sides: tuple[Side, Side]) -> None:
        """Now and then: shows how far it is, and learns who was erased meanwhile."""
        self._count += 1
        if self._count % _TELL_EVERY:
            return
        self._progress(self._count, self._recorded.total)
        await asyncio.sleep(0)
        if time.monotonic() - self._refreshed > _REFRESH_S:
            await self._refresh(partition, sides)

    async def _refresh(self, partition: int, sides: tuple[Side, Side]) -> None:
        for erasure in await self._following.refresh():
            if erasure.partition == partition and erasure.key is not None:
                _forget(erasure, sides)
        self._refreshed = time.monotonic()


def _forget(erasure: ConsumerRecord, sides: tuple[Side, Side]) -> None:
    for side in sides:
        side.take(erasure)
        side.forget(erasure.key.decode())


def side_by_side(
    now: Iterator[tuple[str, Fates]], new: Iterator[tuple[str, Fates]]
) -> Iterator[tuple[str, Fates, Fates]]:
    """Both sides' fates of each user; either may have none. Each comes in the order of the ids' bytes."""
    left, right = next(now, None), next(new, None)
    while left is not None or right is not None:
        first = min(each[0].encode() for each in (left, right) if each is not None).decode()
        mine, other = Fates(), Fates()
        if left is not None and left[0] == first:
            mine, left = left[1], next(now, None)
        if right is not None and right[0] == first:
            other, right = right[1], next(new, None)
        yield first, mine, other
