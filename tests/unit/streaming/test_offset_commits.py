"""The group's positions: noted often, committed seldom, never backwards, always with the journal's offset."""

from collections.abc import Mapping

from aiokafka.errors import CommitFailedError
from aiokafka.structs import OffsetAndMetadata
from faust.types import TP

from app.streaming.journal import JournalPosition
from app.streaming.offset_commits import Committer
from app.streaming.restore import Committed


class FakeMember:
    """Remembers what was committed, and can refuse."""

    def __init__(self, committed: Mapping[TP, OffsetAndMetadata] | None = None) -> None:
        self.commits: list[dict[TP, OffsetAndMetadata]] = []
        self.at = dict(committed or {})
        self.refuses = False

    async def commit_positions(self, positions: Mapping[TP, OffsetAndMetadata]) -> None:
        if self.refuses:
            raise CommitFailedError("rebalancing")
        self.commits.append(dict(positions))
        self.at.update(positions)

    async def fetch_committed(self, tps: list[TP]) -> dict[TP, OffsetAndMetadata]:
        return {tp: self.at.get(tp, OffsetAndMetadata(-1, "")) for tp in tps}


def joined(member: FakeMember) -> Committer:
    committer = Committer(["events"])
    committer.join(member)
    return committer


async def test_many_checkpoints_are_one_commit() -> None:
    member = FakeMember()
    committer = joined(member)
    for number in range(1, 5):
        committer.note(0, {"events": number * 10}, JournalPosition(number, 0))
    await committer.flush()

    assert member.commits == [{TP("events", 0): OffsetAndMetadata(40, "journal:4:0")}]


async def test_nothing_new_is_not_committed_again() -> None:
    member = FakeMember()
    committer = joined(member)
    committer.note(0, {"events": 1}, JournalPosition(0, 0))
    await committer.flush()
    await committer.flush()

    assert len(member.commits) == 1


async def test_a_position_without_a_new_entry_keeps_the_bookmark() -> None:
    member = FakeMember()
    committer = joined(member)
    committer.note(0, {"events": 1}, JournalPosition(7, 0))
    committer.note(0, {"events": 2}, None)
    await committer.flush()

    assert member.at[TP("events", 0)] == OffsetAndMetadata(2, "journal:7:0")


async def test_a_refused_commit_is_tried_again() -> None:
    member = FakeMember()
    committer = joined(member)
    committer.note(0, {"events": 1}, JournalPosition(0, 0))
    member.refuses = True
    await committer.flush()
    member.refuses = False
    await committer.flush()

    assert member.at[TP("events", 0)].offset == 1


async def test_a_commit_set_by_a_tool_is_told_from_ours() -> None:
    member = FakeMember({TP("events", 0): OffsetAndMetadata(3, "")})

    assert await joined(member).committed(0) == {"events": Committed(3, None)}


async def test_a_partition_that_was_given_up_is_not_committed() -> None:
    member = FakeMember()
    committer = joined(member)
    committer.note(0, {"events": 1}, JournalPosition(0, 0))
    committer.forget(0)
    await committer.flush()

    assert member.commits == []


async def test_the_bookmark_comes_back_from_the_commit() -> None:
    member = FakeMember()
    committer = joined(member)
    committer.note(0, {"events": 1}, JournalPosition(7, 5))
    await committer.flush()

    assert await joined(member).committed(0) == {"events": Committed(1, JournalPosition(7, 5))}
