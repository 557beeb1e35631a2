"""Following changed inboxes: whoever follows hears of it where nothing can be heard, and following never ends."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import TopicPartition

from app.store import follower as following_topics
from app.store import inbox_follower
from app.store.inbox_follower import InboxFollower
from schemas.inbox_changes import InboxChange, TicketClaim
from schemas.topics import INBOX_CHANGES
from tests.conftest import until


class Consumer:
    """Has no records. ``answers``: the partitions for which the broker answers. ``fails``: in place of a first poll."""

    def __init__(self, answers: Iterable[int], fails: Exception | None = None) -> None:
        self._answers, self._fails = set(answers), fails
        self._partitions: list[TopicPartition] = []
        self.polls = 0

    async def start(self) -> None: ...

    async def stop(self) -> None:
        if self._fails is not None:
            raise self._fails

    async def topics(self) -> set[str]:
        return {INBOX_CHANGES}

    def assign(self, partitions: list[TopicPartition]) -> None:
        self._partitions = partitions

    def assignment(self) -> list[TopicPartition]:
        return self._partitions

    def seek(self, tp: TopicPartition, offset: int) -> None: ...

    async def offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    beginning_offsets = end_offsets = offsets

    async def offsets_for_times(self, times: Any) -> dict[TopicPartition, None]:
        return dict.fromkeys(times)

    async def getmany(self, **_: Any) -> dict[Any, Any]:
        await asyncio.sleep(0)
        if self._fails is not None:
            raise self._fails
        self.polls += 1
        return {}

    async def position(self, tp: TopicPartition) -> int:
        return 0

    def last_poll_timestamp(self, tp: TopicPartition) -> int | None:
        return self.polls if tp.partition in self._answers else None


class Follows:
    def __init__(self) -> None:
        self.losses = 0
        self.follower: InboxFollower

    def wants(self, user_id: bytes) -> bool:
        return True

    def take_change(self, change: InboxChange) -> None: ...

    def take_claim(self, claim: TicketClaim) -> None: ...

    def lost(self) -> None:
        self.losses += 1


@asynccontextmanager
async def following(
    monkeypatch: pytest.MonkeyPatch, *consumers: Consumer, silent_s: float = 0.1, look_s: float = 0.01
) -> AsyncIterator[Follows]:
    left, follows = list(consumers), Follows()
    monkeypatch.setattr(following_topics, "LogConsumer", lambda **_: left.pop(0))
    monkeypatch.setattr(following_topics, "_BACKOFF_S", 0.0)
    monkeypatch.setattr(inbox_follower, "_SILENT_S", silent_s)
    monkeypatch.setattr(inbox_follower, "_LOOK_S", look_s)
    follower = follows.follower = InboxFollower({}, follows, lambda: 0, partitions=2, since_ms=0)
    await follower.start()
    try:
        yield follows
    finally:
        await follower.close()


async def test_where_one_partition_is_not_answered_for_streams_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async with following(monkeypatch, Consumer([0])) as follows:
        await until(lambda: follows.losses >= 2)


async def test_answers_without_a_record_keep_streams_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Consumer([0, 1])
    async with following(monkeypatch, consumer, silent_s=30.0, look_s=3_600.0) as follows:
        now, polls = asyncio.get_running_loop().time(), consumer.polls
        follows.follower._answered = dict.fromkeys(follows.follower._answered, (None, now - 31.0))
        await until(lambda: consumer.polls > polls + 1)
        follows.follower._look(now)
        assert follows.losses == 0


async def test_a_consumer_that_can_not_even_be_stopped_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Consumer([0, 1])
    async with following(monkeypatch, Consumer([0, 1], RuntimeError("a fault")), second):
        await until(lambda: second.polls > 0)
