"""A process's clients of the log: producer, readers, group member and horizon, each as slow and as unlucky as chance
has it."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, RequestTimedOutError
from aiokafka.structs import OffsetAndMetadata
from faust.types import TP

from app.domain.out import Produce
from app.streaming.producer import ProduceFailed, Span
from app.streaming.restore import Restorer
from schemas.topics import COMMANDS
from tests.simulation.broker import Broker, Record
from tests.simulation.loop import Life, VirtualLoop, context_of

#: What is under way when its process dies has landed, or never will, after so many seconds.
LANDED_AFTER_S = 0.1


class Producer:
    """Each (topic, partition) of a produce lands by itself, after its process's death too; an acknowledgement may be
    lost, or the record. ``trouble``: how likely that is."""

    def __init__(self, loop: VirtualLoop, broker: Broker, chance: Random, life: Life) -> None:
        self._loop, self._broker, self._chance, self._life = loop, broker, chance, life
        self._world = context_of(loop.world)
        self.trouble = 0.0
        self.under_way = 0

    async def append(self, topic: str, partition: int, value: bytes, key: bytes = b"") -> int:
        return (await self._send(partition, [Produce(topic, key, value)])).first

    async def produce(self, records: Iterable[Produce], partition: int) -> dict[tuple[str, int], Span]:
        grouped: dict[tuple[str, int], list[Produce]] = {}
        for record in records:
            where = (record.topic, partition if record.partition < 0 else record.partition)
            grouped.setdefault(where, []).append(record)
        sent = [(where, self._send(where[1], group)) for where, group in grouped.items()]
        return {where: await landed for where, landed in sent}

    def _send(self, partition: int, records: Sequence[Produce]) -> "asyncio.Future[Span]":
        answer: asyncio.Future[Span] = self._loop.create_future()
        answer.add_done_callback(_heard)
        self.under_way += 1
        delay = self._chance.random() ** 3 * LANDED_AFTER_S / 2
        self._loop.call_later(delay, self._land, answer, partition, records, context=self._world)
        return answer

    def _land(self, answer: "asyncio.Future[Span]", partition: int, records: Sequence[Produce]) -> None:
        self.under_way -= 1
        dead = not self._life.alive and self._chance.random() < 0.5
        if dead or self._chance.random() < self.trouble / 2:
            _refuse(answer, f"{records[0].topic}: never landed")
            return
        offsets = [self._broker.append(partition, record) for record in records]
        if self._chance.random() < self.trouble / 2:
            _refuse(answer, f"{records[0].topic}: not acknowledged")
        else:
            delay = self._chance.random() ** 3 * LANDED_AFTER_S / 2
            self._loop.call_later(
                delay, _resolve, answer, Span(offsets[0], offsets[-1] + 1, len(offsets)), context=self._world
            )


def _heard(answer: "asyncio.Future[Span]") -> None:
    if not answer.cancelled():
        answer.exception()


def _refuse(answer: "asyncio.Future[Span]", why: str) -> None:
    if not answer.done():  # (who waited for it may have been cancelled)
        answer.set_exception(ProduceFailed(why))


def _resolve(answer: "asyncio.Future[Span]", span: Span) -> None:
    if not answer.done():
        answer.set_result(span)


class Reader:
    """What ``Restorer`` needs of a consumer."""

    def __init__(self, broker: Broker, chance: Random, tps: Sequence[TopicPartition]) -> None:
        self._broker, self._chance = broker, chance
        self._positions = dict.fromkeys(tps, 0)

    async def beginning_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        await asyncio.sleep(0.001)
        return {tp: self._broker.end(tp.topic, tp.partition) for tp in tps}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._positions[tp] = offset

    def pause(self, *tps: TopicPartition) -> None:
        """Paused ones are never asked for."""

    async def position(self, tp: TopicPartition) -> int:
        return self._positions[tp]

    async def getmany(self, *tps: TopicPartition, timeout_ms: int, max_records: int) -> Mapping[Any, list[Record]]:
        await asyncio.sleep(0.001 + self._chance.random() * 0.01)
        found: dict[TopicPartition, list[Record]] = {}
        for tp in tps:
            most = self._chance.choice((1, 7, max_records))
            records = self._broker.read(tp.topic, tp.partition, self._positions[tp], most)
            if records:
                found[tp] = records
                self._positions[tp] = records[-1].offset + 1
            else:
                self._positions[tp] = self._broker.end(tp.topic, tp.partition)
        if not found:
            await asyncio.sleep(timeout_ms / 1000)
        return found


class LogRestorer(Restorer):
    """The real one over a log in memory."""

    def __init__(self, broker: Broker, chance: Random, changelogs: Mapping[str, str], journal: str) -> None:
        super().__init__({}, changelogs, journal)
        self._broker, self._chance = broker, chance

    @asynccontextmanager
    async def _reader(self, tps: Sequence[TopicPartition]) -> AsyncIterator[Any]:
        yield Reader(self._broker, self._chance, tps)


class Horizon:
    def __init__(self, broker: Broker, chance: Random) -> None:
        self._broker, self._chance = broker, chance

    async def end(self, partition: int) -> int:
        await asyncio.sleep(self._chance.random() * 0.02)
        end = self._broker.end(COMMANDS, partition)
        await asyncio.sleep(self._chance.random() * 0.02)
        return end

    async def ends(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        await asyncio.sleep(self._chance.random() * 0.02)
        ends = {topic: self._broker.end(topic, partition) for topic in topics}
        await asyncio.sleep(self._chance.random() * 0.02)
        return ends


class Group:
    """A role's consumer group: who owns which partition, and what was committed. ``broken``: commits that moved back.
    ``bugs``: what stopped a member, other than the log."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.owners: dict[int, Life] = {}
        self.committed: dict[Any, OffsetAndMetadata] = {}
        self.broken: list[str] = []
        self.bugs: list[str] = []

    def commit(self, life: Life, positions: Mapping[Any, OffsetAndMetadata]) -> None:
        mine = {tp: at for tp, at in positions.items() if self.owners.get(tp.partition) is life}
        if len(mine) < len(positions):
            raise CommitFailedError("the group has rebalanced")
        for tp, at in mine.items():
            before = self.committed.get(tp)
            if before is not None and at.offset < before.offset:
                self.broken.append(f"{self.role} {tp}: committed {at.offset} after {before.offset}")
        self.committed.update(mine)

    def position(self, topic: str, partition: int) -> int:
        committed = self.committed.get(TP(topic, partition))
        return committed.offset if committed is not None else 0

    def rewind(self, chance: Random) -> list[tuple[Any, int]]:
        """Sets some topics' commits back, as an operator's tool does: with no word of ours in their metadata."""
        back: list[tuple[Any, int]] = []
        for tp, at in list(self.committed.items()):
            if at.offset and chance.random() < 0.6:
                offset = chance.randint(0, at.offset)
                self.committed[tp] = OffsetAndMetadata(offset, "")
                back.append((tp, offset))
        return back


class Member:
    """See ``app.streaming.offset_commits.GroupMember``."""

    def __init__(self, group: Group, chance: Random, life: Life) -> None:
        self._group, self._chance, self._life = group, chance, life
        self.trouble = 0.0

    async def commit_positions(self, positions: Mapping[Any, OffsetAndMetadata]) -> None:
        await asyncio.sleep(self._chance.random() * 0.02)
        if self._chance.random() < self.trouble:
            raise RequestTimedOutError
        self._group.commit(self._life, positions)
        if self._chance.random() < self.trouble:
            raise RequestTimedOutError
        await asyncio.sleep(self._chance.random() * 0.02)

    async def fetch_committed(self, tps: list[Any]) -> dict[Any, OffsetAndMetadata]:
        await asyncio.sleep(0.001)
        return {tp: self._group.committed[tp] for tp in tps if tp in self._group.committed}
