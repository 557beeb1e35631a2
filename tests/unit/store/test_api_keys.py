"""What counts on tocsin_keys, and what is written there."""

import dataclasses

import pytest

from app.domain.api_keys import revoked, rotated
from app.store.api_keys import USED_EVERY_MS, KeyStates
from app.store.publisher import Outgoing, PublishError
from schemas.keys import KeyUsed
from tests.key_topic import NOW, SECRET, KeyTopic, a_key
from tests.records import Record

NEW = "a" * 64


async def test_what_is_written_is_known_to_all_who_follow() -> None:
    topic = KeyTopic()
    writer, other = topic.writer(), topic.follow()
    made = a_key("shop")
    assert await writer.write(made)
    after = rotated(made, NEW, 1000, NOW)
    assert await writer.write(after)
    for states in (writer.states, other, topic.follow()):
        assert states.find("shop") == after
        assert states.all() == [after]

    assert await writer.write(revoked(after, NOW))
    for states in (writer.states, other, topic.follow()):
        assert states.find("shop") is None
        assert states.all() == []
        assert (states.version_of("shop"), states.ids) == (2, 1)


async def test_only_what_is_signed_with_one_of_our_secrets_counts() -> None:
    topic, former = KeyTopic(), b"what the secret was before it was changed"
    await topic.writer(topic.follow((former,)), secret=former).write(a_key("shop"))

    assert topic.follow((SECRET, former)).find("shop") is not None
    assert topic.follow((SECRET,)).find("shop") is None


async def test_a_record_under_anothers_key_does_not_count() -> None:
    topic = KeyTopic()
    writer = topic.writer()
    ours = writer._signed(a_key("shop"))
    theirs = writer._signed(a_key("admin"))
    topic.put([ours._replace(key=theirs.key), ours._replace(value=theirs.value), ours._replace(headers=theirs.headers)])

    assert topic.follow().all() == []


async def test_copies_of_older_records_bring_nothing_back() -> None:
    topic = KeyTopic()
    writer = topic.writer()
    first = a_key("shop")
    second = a_key("shop", creation="another", version=3)
    for record in (first, rotated(first, NEW, 0, NOW), revoked(first, NOW), second, revoked(second, NOW)):
        await writer.write(record)

    for copied in list(topic.records):
        topic.put([copied_of(copied)])
        assert writer.states.find("shop") is None


def copied_of(record: Record) -> Outgoing:
    return Outgoing(record.topic, record.key, record.value, headers=record.headers)


async def test_of_two_changes_at_the_same_time_the_first_counts_for_all() -> None:
    topic = KeyTopic()
    one, other = topic.writer(), topic.writer()
    theirs, ours = a_key("shop", creation="theirs"), a_key("shop", creation="ours")

    assert await one.write(theirs)
    assert not await other.write(ours)
    for states in (one.states, other.states, topic.follow()):
        assert states.find("shop") == theirs


async def test_a_rotation_at_the_same_time_does_not_undo_a_revocation() -> None:
    topic = KeyTopic()
    one, other = topic.writer(), topic.writer()
    made = a_key("shop")
    await one.write(made)
    later = rotated(made, NEW, 1000, NOW)

    assert await one.write(revoked(made, NOW))
    assert not await other.write(later)
    assert not await other.write(rotated(later, NEW, 0, NOW))
    assert topic.follow().find("shop") is None


async def test_two_who_revoke_at_the_same_time_both_succeed() -> None:
    topic = KeyTopic()
    one, other = topic.writer(), topic.writer()
    made = a_key("shop")
    await one.write(made)

    assert await one.write(revoked(made, NOW))
    assert await other.write(revoked(made, NOW + 1))


async def test_what_compaction_would_lose_is_written_again() -> None:
    topic = KeyTopic()
    writer = topic.writer()
    made = a_key("shop")
    after = rotated(made, NEW, 0, NOW)
    await writer.write(made)
    await writer.write(after)
    copy = topic.records[0]
    topic.put([copied_of(copy)])

    await writer.write_due()
    written = len(topic.records)
    await writer.write_due()

    assert len(topic.records) == written  # once is enough
    last = {record.key: record for record in topic.records}
    compacted = KeyStates((SECRET,))
    for record in last.values():
        compacted.take(record)
    assert compacted.find("shop") == after


async def test_a_use_is_known_here_at_once_and_written_once_a_minute() -> None:
    topic = KeyTopic()
    now = [NOW]
    writer, other = topic.writer(clock=lambda: now[0]), topic.writer()
    assert writer.uses.at("shop", 1) is None

    writer.uses.note("shop", 1)
    assert writer.uses.at("shop", 1) == NOW
    await writer.write_due()
    assert other.uses.at("shop", 1) == NOW

    now[0] += USED_EVERY_MS - 1
    writer.uses.note("shop", 1)
    await writer.write_due()
    assert (writer.uses.at("shop", 1), other.uses.at("shop", 1)) == (now[0], NOW)
    now[0] += 1
    writer.uses.note("shop", 1)
    await writer.write_due()
    assert other.uses.at("shop", 1) == now[0]
    assert len(topic.records) == 2


async def test_a_use_that_could_not_be_written_is_written_later() -> None:
    topic = KeyTopic()
    writer = topic.writer()
    writer.uses.note("shop", 1)
    topic.is_down = True
    await writer.write_due()
    topic.is_down = False
    await writer.write_due()

    assert topic.follow().used_at("shop", 1) == NOW


async def test_an_earlier_use_that_comes_late_does_not_count() -> None:
    topic = KeyTopic()
    writer = topic.writer()
    topic.put([writer._signed(KeyUsed(id="shop", number=1, at=at)) for at in (NOW, NOW - 1)])

    assert writer.uses.at("shop", 1) == NOW


async def test_what_is_not_acknowledged_is_not_claimed_to_count() -> None:
    topic = KeyTopic()
    writer = topic.writer()
    topic.is_down = True

    with pytest.raises(PublishError):
        await writer.write(a_key("shop"))
    assert writer.states.find("shop") is None


def test_a_tombstone_changes_nothing() -> None:
    topic = KeyTopic()
    writer = topic.with_key(a_key("shop"))
    [record] = topic.records
    writer.states.take(dataclasses.replace(record, offset=9, value=None))

    assert writer.states.find("shop") is not None
