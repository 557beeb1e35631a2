"""Where a partition starts again: the journal's word, the group's commit, and an operator's; and when it has it all."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition

from app.kafka.consumers import LogConsumer
from app.streaming import restore
from app.streaming.epochs import NO_EPOCH
from app.streaming.journal import Entry, JournalPosition
from app.streaming.restore import Committed, PendingEntry, StaleWriteFilter, start_positions, within


def ours(offset: int) -> Committed:
    return Committed(offset, JournalPosition(3, 0))


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
    pending_entry = PendingEntry((JournalPosition(0, -1), Entry(journal, {}, [])), journal)

    assert start_positions(committed, pending_entry) == expected


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


class Log:
    """A consumer of a log that ends at 5; each poll brings the next of these records, and moves the position."""

    def __init__(self, *polls: tuple[list[Any], int]) -> None:
        self.polls = list(polls)
        self.at = 0

    async def getmany(self, *tps: TopicPartition, timeout_ms: int, max_records: int) -> dict[Any, Any]:
        records, self.at = self.polls.pop(0)
        return {tps[0]: records} if records else {}

    async def position(self, tp: TopicPartition) -> int:
        return self.at


TP = TopicPartition("changelog", 0)


def row(offset: int, key: bytes | None = b"k") -> Any:
    return SimpleNamespace(offset=offset, key=key, value=b"v", headers=())


@pytest.mark.parametrize(
    ("polls", "expected"),
    [
        pytest.param([([], 5)], [([], 5)], id="a hole that is all there is"),
        pytest.param([([0], 1), ([], 5)], [([0], 1), ([], 5)], id="a hole at the end"),
        pytest.param([([0], 5)], [([0], 5)], id="a hole that came with the last record"),
        pytest.param([([], 0), ([], 3), ([4], 5)], [([4], 5)], id="a hole before the last record"),
        pytest.param([([4, 5, 6], 7)], [([4], 5)], id="more than was there at the start"),
    ],
)
async def test_a_log_is_read_to_its_end_by_the_position(polls: Any, expected: Any) -> None:
    log = Log(*[([row(n) for n in offsets], position) for offsets, position in polls])
    batches = [(tp, records, at) async for tp, records, at in restore._batches(cast(LogConsumer, log), {TP: 5})]

    assert [([r.offset for r in records], at) for _, records, at in batches] == expected


def test_a_row_that_cannot_be_read_stays_as_it_was() -> None:
    assert StaleWriteFilter(NO_EPOCH).sift([row(0), row(1, None)]) == {b"k": b"v"}
