"""Sends are read back from where their ids and their events say that they lie, and only those that were asked for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition

from app.store import recorded_sends
from app.store.erased import ErasedUsers
from app.store.recorded_sends import MOST_SENDS, Queued, RecordedSends
from schemas.sends import Send, Withdraw, encode_send

_NAMES = [f"00000000-0000-8000-8000-00000000000{n}" for n in range(4)]
_NORMAL = "notify_send_push"


class _Record(NamedTuple):
    offset: int
    value: bytes | None


def _send(name: str, user_id: str = "ada") -> bytes:
    return encode_send(
        Send(
            send_id=name,
            notification_id=_NAMES[0],
            user_id=user_id,
            channel="push",
            event_type="a.b",
            category="other",
            priority="normal",
            policy_version=1,
            created_at=0,
            accepted_at=5,
            expires_at=9,
        )
    )


class _Log:
    """A consumer of four partitions, whose records lie at the offsets of their moments."""

    def __init__(self, **values: list[bytes | None]) -> None:
        self.values = values
        self.spans: dict[TopicPartition, tuple[int, int]] = {}
        self.topics: tuple[str, ...] = ()

    @asynccontextmanager
    async def opened(self, options: Any, *topics: str) -> AsyncIterator["_Log"]:
        self.topics = topics
        yield self

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(topic, n) for topic in self.topics for n in range(4)}

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        return {place: _Record(ms, None) if place.topic == _NORMAL else None for place, ms in times.items()}

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, 1_000_000)

    async def read(self, _: Any, spans: dict[TopicPartition, tuple[int, int]]) -> AsyncIterator[list[_Record]]:
        self.spans = spans
        for place in spans:
            yield [_Record(n, value) for n, value in enumerate(self.values.get(f"p{place.partition}", []))]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> _Log:
    log = _Log(
        p1=[None, b"{", encode_send(Withdraw(send_id=_NAMES[1], user_id="ada", status="cancelled")), _send(_NAMES[1])],
        p2=[_send(_NAMES[2], "bob"), _send(_NAMES[3])],
    )
    monkeypatch.setattr(recorded_sends, "open_reader", log.opened)
    monkeypatch.setattr(recorded_sends, "read_spans", log.read)
    return log


async def test_only_sends_of_the_user_that_were_asked_for_are_found(log: _Log) -> None:
    found = await RecordedSends({}, ErasedUsers()).of("ada", [Queued(name, "push", 5000) for name in _NAMES[1:3]])

    assert list(found) == [_NAMES[1]]


async def test_they_are_looked_for_from_when_they_were_queued_and_not_without_end(log: _Log) -> None:
    await RecordedSends({}, ErasedUsers()).of("ada", [Queued(_NAMES[1], "push", 5000)])

    assert set(log.topics) == {f"notify_send_push{lane}" for lane in ("", "_bulk", "_critical")}
    assert log.spans == {TopicPartition(_NORMAL, 1): (4000, 24_000)}


async def test_nothing_is_shown_of_whoever_was_erased_since(log: _Log, monkeypatch: pytest.MonkeyPatch) -> None:
    erased = ErasedUsers()
    monkeypatch.setattr(erased, "hides", lambda user_id, at_ms: (user_id, at_ms) == ("ada", 5))

    assert await RecordedSends({}, erased).of("ada", [Queued(_NAMES[1], "push", 5000)]) == {}


async def test_an_id_of_no_partition_does_no_harm(log: _Log) -> None:
    asked = [Queued("none", "push", 0), Queued("00000000-0000-8000-8000-00000000ffff", "push", 0)]

    assert await RecordedSends({}, ErasedUsers()).of("ada", asked) == {}
    assert await RecordedSends({}, ErasedUsers()).of("ada", []) == {}


async def test_of_a_flood_of_sends_the_first_are_looked_for(log: _Log) -> None:
    names = [f"{n:08x}-0000-8000-8000-000000000001" for n in range(MOST_SENDS + 1)]
    log.values["p1"] = [_send(name) for name in names]

    found = await RecordedSends({}, ErasedUsers()).of("ada", [Queued(name, "push", 0) for name in names])
    assert list(found) == names[:MOST_SENDS]
