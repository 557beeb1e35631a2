"""Who may write to ``tocsin_owners`` can't redirect reads: only owners announce themselves, and only for now."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json, structs

from app.domain import announcing
from app.store.announced import REFUSALS
from app.store.owners import Announcements, Owner, announce
from schemas.topics import OWNERS
from tests.records import Record

SECRET, OTHER = b"the installation's own secret of 32 bytes", b"another installation's secret of 32 bytes"
NOW = 1_780_000_000_000
TRUE, FORGED = "http://router-1:9100", "http://attacker:9100"


def record(
    key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]] = (), offset: int = 0
) -> Record:
    return Record(OWNERS, 0, offset, NOW, key, value, headers)


def signature(record: Record) -> bytes:
    [(_, signed)] = record.headers
    assert signed is not None
    return signed


def owner(url: str = TRUE, **fields: Any) -> Owner:
    given = {"role": "router", "instance": "1", "partitions": [0, 1], "policy_version": 3, "at": NOW, **fields}
    return Owner(url=url, **given)


def announced(said: Owner, *, secret: bytes = SECRET, offset: int = 0) -> Record:
    key, value = said.name.encode(), json.encode(said)
    return record(key, value, [(announcing.HEADER, announcing.signed(secret, key, value, said.at))], offset)


def left(at: int, *, secret: bytes = SECRET, offset: int = 0) -> Record:
    key = b"router/1"
    return record(key, None, [(announcing.HEADER, announcing.signed(secret, key, None, at))], offset)


class EndOffset:
    """A follower that has heard these, and why it refused which."""

    def __init__(self, *records: Record, now: int = NOW) -> None:
        self.now = now
        self.refused: list[str] = []
        self.owners = Announcements(SECRET, lambda: self.now, self.refused.append)
        self.take(*records)

    def take(self, *records: Record) -> None:
        for each in records:
            self.owners.take(each)

    @property
    def url(self) -> str | None:
        found = self.owners.owner_of("router", 1)
        return found.url if found else None


def test_an_owner_is_known_by_its_announcement_and_gone_when_it_takes_it_back() -> None:
    heard = EndOffset(announced(owner()))
    assert heard.url == TRUE

    heard.take(left(NOW + 1, offset=1))

    assert heard.url is None
    assert heard.refused == []


FORGERIES = {
    "unsigned": replace(announced(owner(FORGED, at=NOW + 1)), headers=()),
    "with another secret": announced(owner(FORGED, at=NOW + 1), secret=OTHER),
    "far in the future": replace(announced(owner(FORGED, at=NOW + 10**12)), headers=()),
    "under another's signature": replace(announced(owner()), value=json.encode(owner(FORGED))),
    "at another time": replace(
        announced(owner()), headers=[(announcing.HEADER, b"%d:" % (NOW + 1) + signature(announced(owner()))[14:])]
    ),
    "under another name": replace(announced(owner(FORGED, instance="2"), secret=OTHER), key=b"router/1"),
    "of a worker that never was": announced(owner(FORGED, instance="9", at=NOW + 1), secret=OTHER),
    "with two signatures": replace(announced(owner()), headers=[*announced(owner()).headers] * 2),
    "with an empty signature": replace(announced(owner(FORGED)), headers=[(announcing.HEADER, None)]),
    "with no text in it": replace(announced(owner(FORGED)), headers=[(announcing.HEADER, b"\xff\xfe")]),
    "leaving, unsigned": record(b"router/1", None),
    "leaving, with another secret": left(NOW + 1, secret=OTHER),
    "leaving, by a signature for staying": replace(announced(owner()), value=None),
    "without a key": replace(announced(owner(FORGED, at=NOW + 1), secret=OTHER), key=None),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_what_no_owner_announced_changes_nothing_and_is_counted(forgery: Record) -> None:
    heard = EndOffset(announced(owner()))

    heard.take(replace(forgery, offset=1))

    assert (heard.url, heard.refused) == (TRUE, ["untrusted"])
    assert heard.owners.everyone() == [owner()]


@pytest.mark.parametrize("ahead_ms", [15_001, 3_600_000, 10**14])
def test_an_announcement_from_the_future_does_not_count(ahead_ms: int) -> None:
    """Of a worker whose clock is wrong: it would win until then."""
    heard = EndOffset(announced(owner()), announced(owner(FORGED, instance="2", at=NOW + ahead_ms), offset=1))

    assert (heard.url, heard.refused) == (TRUE, ["ahead"])


@pytest.mark.parametrize("record", [announced(owner(FORGED)), left(NOW)], ids=["stays", "leaves"])
def test_a_copy_of_an_older_announcement_takes_nothing_from_a_newer_one(record: Record) -> None:
    heard = EndOffset(record, announced(owner(at=NOW + 1000), offset=1))

    heard.take(replace(record, offset=2))

    assert (heard.url, heard.refused) == (TRUE, ["replayed"])


def test_a_copy_brings_nobody_back_who_has_left() -> None:
    stayed = announced(owner())
    heard = EndOffset(stayed, left(NOW + 1, offset=1), replace(stayed, offset=2))
    assert (heard.url, heard.refused) == (None, ["replayed"])

    heard.now += announcing.SILENT_MS + 2
    heard.take(announced(owner(instance="2", partitions=[7], at=heard.now), offset=3))  # what is old is forgotten
    heard.take(replace(stayed, offset=4, timestamp=heard.now))

    assert (heard.url, heard.refused) == (None, ["replayed", "behind"])
    assert list(heard.owners._latest) == [b"router/2"]


def test_an_old_owner_takes_nothing_from_the_next() -> None:
    """A copy of what the one before announced, of the same partitions."""
    before = announced(owner(FORGED, instance="2", at=NOW - 100))
    heard = EndOffset(before, announced(owner(), offset=1))

    heard.take(replace(before, offset=2))

    assert (heard.url, heard.refused) == (TRUE, ["replayed"])


def test_an_owner_that_is_silent_is_forgotten() -> None:
    heard = EndOffset(announced(owner()))

    heard.now += announcing.SILENT_MS + 1

    assert heard.url is None


def test_reading_the_topic_anew_counts_nothing() -> None:
    records = [announced(owner(at=NOW - 10_000 + n * 5_000), offset=n) for n in range(3)]
    heard = EndOffset(*records)

    heard.take(*records)

    assert (heard.url, heard.refused) == (TRUE, [])


def test_what_lies_there_of_long_ago_counts_nothing() -> None:
    """Such as announcements of the version before, which nobody signed, and all that weren't compacted yet."""
    unsigned = replace(announced(owner(FORGED)), headers=(), timestamp=NOW - 60_000)
    old = replace(announced(owner(FORGED, at=NOW - 60_000), offset=1), timestamp=NOW - 60_000)

    heard = EndOffset(unsigned, old, announced(owner(), offset=2))

    assert (heard.url, heard.refused) == (TRUE, [])


def test_once_the_topic_is_read_whatever_comes_counts_however_old_it_says_it_is() -> None:
    """Of a worker whose clock is behind, for instance: its records' timestamps are so as well."""
    heard = EndOffset()
    heard.owners.is_live = True

    heard.take(replace(announced(owner(at=NOW - 60_000)), timestamp=NOW - 60_000))
    heard.take(replace(announced(owner(FORGED)), headers=(), timestamp=-1, offset=1))

    assert (heard.url, heard.refused) == (None, ["behind", "untrusted"])


def test_forgeries_take_no_memory() -> None:
    heard = EndOffset()
    for number in range(1000):
        heard.take(announced(owner(FORGED, instance=f"i{number}"), secret=OTHER))

    assert heard.owners._latest == {}


_TEXTS = st.text(max_size=20)
_OWNERS = st.builds(
    Owner,
    role=_TEXTS,
    instance=_TEXTS,
    partitions=st.lists(st.integers(0, 100), max_size=5),
    url=_TEXTS,
    policy_version=st.integers(0, 100),
    at=st.integers(NOW - 15_000, NOW + 15_000),
)


@given(_OWNERS, _OWNERS, st.sampled_from(structs.fields(Owner)).map(lambda each: each.name))
def test_no_field_can_be_changed(said: Owner, other: Owner, name: str) -> None:
    changed = structs.replace(said, **{name: getattr(other, name)})
    record = announced(said)
    forged = replace(record, value=json.encode(changed), offset=1)
    renamed = replace(forged, key=changed.name.encode())

    heard = EndOffset(forged, renamed)

    assert heard.owners.everyone() == ([said] if changed == said else [])
    assert set(heard.refused) <= {"untrusted"}


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([SECRET, OTHER]), st.booleans()), max_size=12))
def test_whatever_is_written_only_signed_announcements_count_and_the_newest_holds(
    written: list[tuple[int, bytes, bool]],
) -> None:
    heard, newest = EndOffset(), (-1, False)
    for offset, (second, secret, stays) in enumerate(written):
        at = NOW + second * 1000
        heard.take(
            announced(owner(f"http://{second}", at=at), secret=secret, offset=offset)
            if stays
            else left(at, secret=secret, offset=offset)
        )
        if secret == SECRET and second > newest[0]:
            newest = (second, stays)

    assert heard.url == (f"http://{newest[0]}" if newest[1] else None)


@given(st.binary(max_size=200) | st.none(), st.binary(max_size=50) | st.none(), st.binary(max_size=200) | st.none())
def test_any_bytes_may_lie_there(header: bytes | None, key: bytes | None, value: bytes | None) -> None:
    heard = EndOffset(record(key, value, [(announcing.HEADER, header)]))

    assert heard.refused == ["untrusted"]


@given(st.binary(max_size=100))
def test_what_is_signed_and_not_understood_changes_nothing(value: bytes) -> None:
    """Of another version."""
    signed = announcing.signed(SECRET, b"router/1", value, NOW + 1)
    heard = EndOffset(announced(owner()), record(b"router/1", value, [(announcing.HEADER, signed)], 1))

    assert (heard.url, heard.refused) == (TRUE, ["unreadable"])
    assert set(heard.refused) <= set(REFUSALS)


class Published:
    """Takes what is announced."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def publish(
        self, topic: str, key: bytes | None, value: bytes | None, *, headers: Sequence[tuple[str, bytes]], **_: Any
    ) -> tuple[int, int]:
        self.records.append(Record(topic, 0, len(self.records), NOW, key, value, headers))
        return 0, len(self.records)


async def test_a_worker_announces_what_followers_take_even_within_one_millisecond() -> None:
    published, changed = Published(), asyncio.Event()
    says = owner()
    telling = asyncio.create_task(
        announce(published, lambda at: structs.replace(says, at=at), changed, SECRET, lambda: NOW)  # type: ignore[arg-type]
    )
    for count, partitions in enumerate(([0], [0, 1], [1]), 1):
        says = owner(partitions=partitions)
        changed.set()
        while len(published.records) <= count:
            await asyncio.sleep(0)
    heard = EndOffset(*published.records)
    assert [each.partitions for each in heard.owners.everyone()] == [[1]]

    telling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await telling
    heard.take(published.records[-1])

    assert heard.url is None
    assert heard.refused == []
    assert {record.topic for record in published.records} == {OWNERS}


async def test_refusals_are_logged_without_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    EndOffset(announced(owner(FORGED), secret=OTHER))
    said = "".join(capsys.readouterr())

    assert "all processes need the same installation.secret" in said
    assert "attacker" not in said
