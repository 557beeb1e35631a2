"""Where a partition starts again: the journal's word, the group's commit, and an operator's; and when it has it all."""

import asyncio
import time
from typing import Any

import pytest
from aiokafka import TopicPartition

from app.streaming import restoring
from app.streaming.journal import Bookmark, Entry
from app.streaming.restoring import Committed, Owed, Silence, start_positions, within


def ours(offset: int) -> Committed:
    return Committed(offset, Bookmark(3, 0))


@pytest.mark.parametrize(
    ("committed", "journal", "expected"),
    [
        pytest.param({}, {}, {}, id="a new group starts anywhere"),
        pytest.param({"e": ours(5)}, {}, {"e": 5}, id="a commit of ours counts"),
        pytest.param({"e": ours(5)}, {"e": 9}, {"e": 9}, id="the journal is ahead of a commit that lagged"),
        pytest.param({"e": ours(9)}, {"e": 5}, {"e": 9}, id="a commit without a new entry is ahead"),
        pytest.param({"e": Committed(2, None)}, {"e": 9}, {"e": 2}, id="an operator's rewind is obeyed"),
        pytest.param({}, {"e": 9}, {"e": 9}, id="the journal alone, after a crash before the first commit"),
    ],
)
def test_start_positions(committed: dict[str, Committed], journal: dict[str, int], expected: dict[str, int]) -> None:
    owed = Owed((Bookmark(0, -1), Entry(journal, {}, [])), journal)

    assert start_positions(committed, owed) == expected


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        pytest.param(7, 7, id="among what the topic holds"),
        pytest.param(10, 10, id="at its end"),
        pytest.param(11, 3, id="beyond its end: made anew, so from its beginning"),
        pytest.param(1, 1, id="before what retention left: the client goes on from there"),
    ],
)
def test_a_position_beyond_the_topics_end_is_its_beginning(position: int, expected: int) -> None:
    assert within({"events": position}, {"events": (3, 10)}) == {"events": expected}


class EmptyLog:
    """A consumer whose partition ends at 5 and gives nothing more. ``answers``: whether the broker says so."""

    def __init__(self, answers: bool) -> None:
        self.answers = answers

    async def getmany(self, *tps: TopicPartition, timeout_ms: int, max_records: int) -> dict[Any, Any]:
        await asyncio.sleep(0.001)
        return {}

    async def position(self, tp: TopicPartition) -> int:
        return 2

    def last_poll_timestamp(self, tp: TopicPartition) -> int | None:
        return int(time.time() * 1000) if self.answers else None


async def read_through(log: EmptyLog) -> list[tuple[Any, Any, int]]:
    return [batch async for batch in restoring._batches(log, {TopicPartition("changelog", 0): 5})]


async def test_what_compaction_took_from_the_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "_QUIET_S", 0.05)

    assert await read_through(EmptyLog(answers=True)) == [(TopicPartition("changelog", 0), [], 5)]


async def test_a_broker_that_says_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "_QUIET_S", 0.01)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read_through(EmptyLog(answers=False)), 0.3)


TP, OTHER = TopicPartition("t", 0), TopicPartition("u", 0)


@pytest.mark.parametrize(
    ("answers", "now", "expected"),
    [
        pytest.param([1, 2, 3], 6.0, True, id="it was asked again and again, and had nothing"),
        pytest.param([1, 2, 3], 4.0, False, id="not for long enough"),
        pytest.param([None, None, None], 60.0, False, id="a broker that is away says nothing"),
        pytest.param([1, 1, 1], 60.0, False, id="nor does one that has fallen silent"),
        pytest.param([1, 1, 2], 60.0, False, id="the answer that has just come may hold records"),
    ],
)
def test_only_answers_say_that_a_log_has_no_more(answers: list[int | None], now: float, expected: bool) -> None:
    silence = Silence(0.0)
    for at_ms in answers:
        silence.hear({TP: at_ms})

    assert silence.says_that_nothing_is_left(now) is expected


def test_each_partition_has_to_answer_for_itself() -> None:
    silence = Silence(0.0)
    for at_ms in (1, 2, 3):
        silence.hear({TP: at_ms, OTHER: 1})
    assert not silence.says_that_nothing_is_left(60.0)

    silence.hear({TP: 4})  # the other has come to its end
    assert silence.says_that_nothing_is_left(60.0)
