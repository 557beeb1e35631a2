"""The journal: entries come back as they were written; those of a worker that had lost the partition don't count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.out import Produce
from app.streaming.journal import (
    CLAIM,
    ENTRY,
    Entry,
    Fenced,
    JournalPosition,
    OwnedJournal,
    decode_entry,
    encode_entry,
    valid_entries,
)

maybe_bytes = st.none() | st.binary(max_size=20)
records = st.builds(
    Produce,
    topic=st.text(min_size=1, max_size=10),
    key=maybe_bytes,
    value=maybe_bytes,
    partition=st.integers(-1, 100),
    timestamp_ms=st.none() | st.integers(0, 2**42),
    headers=st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=2).map(tuple),
)
entries = st.builds(
    Entry,
    positions=st.dictionaries(st.text(max_size=8), st.integers(0, 2**60), max_size=4),
    changes=st.dictionaries(st.text(max_size=8), st.dictionaries(st.binary(max_size=8), maybe_bytes, max_size=3)),
    outputs=st.lists(records, max_size=3),
)


@given(entries)
def test_an_entry_survives_the_log(entry: Entry) -> None:
    again = decode_entry(encode_entry(entry))

    assert again.positions == entry.positions
    assert again.changes == entry.changes
    assert encode_entry(again) == encode_entry(entry)


class Log:
    """One partition's journal in memory: what ``OwnedJournal`` appends to and asks."""

    def __init__(self) -> None:
        self.records: list[tuple[int, bytes, bytes]] = []

    async def append(self, topic: str, partition: int, value: bytes, key: bytes = ENTRY) -> int:
        self.records.append((len(self.records), key, value))
        return len(self.records) - 1

    async def claimed(self, partition: int, start: int, end: int | None) -> bool:
        return any(key == CLAIM for _, key, _ in self.records[start:end])

    def owner(self) -> OwnedJournal:
        return OwnedJournal(self, self.claimed, "journal", 0)

    def valid(self, since: JournalPosition | None = None) -> list[int]:
        first = since.entry if since is not None else 0
        return [offset for offset, _ in valid_entries(self.records[first:], since)]


async def test_an_owner_appends_as_long_as_nobody_else_claims() -> None:
    log = Log()
    owner = log.owner()
    claim = await owner.claim("router-1")

    marks = [(await owner.append({"e": n}, {}, []))[0] for n in range(3)]

    assert marks == [JournalPosition(claim + 1 + n, claim) for n in range(3)]
    assert log.valid() == [1, 2, 3]


async def test_a_worker_that_lost_the_partition_stops_at_its_next_entry_which_is_ignored() -> None:
    log = Log()
    old, new = log.owner(), log.owner()
    await old.claim("router-1")
    await old.append({"e": 1}, {}, [])
    await new.claim("router-2")
    with pytest.raises(Fenced):
        await old.append({"e": 2}, {}, [])
    await new.append({"e": 3}, {}, [])

    assert log.valid() == [1, 4]


async def test_an_owner_goes_on_over_what_a_former_one_wrote_late() -> None:
    log = Log()
    old, new = log.owner(), log.owner()
    await old.claim("router-1")
    await new.claim("router-2")
    with pytest.raises(Fenced):
        await old.append({"e": 2}, {}, [])

    mark, _ = await new.append({"e": 3}, {}, [])

    assert mark == JournalPosition(3, 1)


async def test_a_former_owners_late_entries_are_ignored_even_where_the_claim_is_not_read() -> None:
    log = Log()
    old, new = log.owner(), log.owner()
    await old.claim("router-1")
    await new.claim("router-2")
    mark, _ = await new.append({"e": 1}, {}, [])
    with pytest.raises(Fenced):
        await old.append({"e": 2}, {}, [])

    assert log.valid(since=mark) == [mark.entry]


async def test_a_worker_that_takes_over_again_counts_again() -> None:
    log = Log()
    first, second = log.owner(), log.owner()
    await first.claim("router-1")
    await second.claim("router-2")
    await first.claim("router-1")
    await first.append({"e": 1}, {}, [])

    assert log.valid() == [3]
    with pytest.raises(Fenced):
        await second.append({"e": 2}, {}, [])


def test_entries_from_before_there_were_claims_count() -> None:
    records = [(n, ENTRY, encode_entry(Entry({"e": n}, {}, []))) for n in range(2)]

    assert [offset for offset, _ in valid_entries(records, None)] == [0, 1]
