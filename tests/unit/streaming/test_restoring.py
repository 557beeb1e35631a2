"""Where a partition starts again: the journal's word, the group's commit, and an operator's."""

import pytest

from app.streaming.journal import Bookmark, Entry
from app.streaming.restoring import Committed, Owed, start_positions


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
    owed = Owed([(Bookmark(0, -1), Entry(journal, {}, []))], journal)

    assert start_positions(committed, owed) == expected
