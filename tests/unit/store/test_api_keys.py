"""What counts on tocsin_keys, and what is written there."""

import asyncio
import dataclasses
from typing import Any

import pytest

from app.domain.api_keys import revoked, rotated, without_secret
from app.store.api_keys import USED_EVERY_MS, KeyStates, KeyWriter
from app.store.publisher import Outgoing, PublishError
from schemas.keys import FormerEnded, KeyUsed
from schemas.topics import KEYS
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


FORMER = b"what the secret was before it was changed"


def former_writer(topic: KeyTopic) -> KeyWriter:
    """A gateway that hasn't the present secret yet, or whoever has the former one."""
    return topic.writer(topic.follow((FORMER,)), secret=FORMER)


def compacted(topic: KeyTopic, *secrets: bytes) -> KeyStates:
    """What is read when only the last record of each key is left."""
    states = KeyStates(secrets)
    last = {record.key: record for record in topic.records}
    for record in sorted(last.values(), key=lambda record: record.offset):
        states.take(record)
    return states


async def test_only_what_is_signed_with_one_of_our_secrets_counts() -> None:
    topic = KeyTopic()
    await former_writer(topic).write(a_key("shop"))

    assert topic.follow((SECRET, FORMER)).find("shop") is not None
    assert topic.follow((SECRET,)).find("shop") is None


async def test_what_a_former_secret_signed_is_signed_anew_and_goes_on_without_it() -> None:
    topic = KeyTopic()
    before = former_writer(topic)
    shop, gone = a_key("shop"), a_key("gone")
    for record in (shop, gone, revoked(gone, NOW)):
        await before.write(record)
    before.uses.note("shop", 1)
    await before.write_due()

    writer = topic.writer(topic.follow((SECRET, FORMER)))
    await writer.write_due()
    await writer.write_due()  # first all of them, then that it's done
    written = len(topic.records)
    await writer.write_due()

    assert len(topic.records) == written
    read: list[KeyStates] = [topic.follow((SECRET,)), compacted(topic, SECRET), compacted(topic, SECRET, FORMER)]
    for states in read:
        assert states.all() == [shop]
        assert (states.ids, states.used_at("shop", 1)) == (2, NOW)


async def test_a_former_secret_makes_no_keys_once_all_are_signed_anew() -> None:
    topic = KeyTopic()
    shop = a_key("shop")
    await former_writer(topic).write(shop)
    writer = topic.writer(topic.follow((SECRET, FORMER)))
    for _ in range(2):
        await writer.write_due()

    thief = former_writer(topic)
    for key_id in ("shop", "mine"):
        topic.put([thief._signed(a_key(key_id, creation="a thief's", version=9, scopes=["admin"]))])
    for states in (writer.states, topic.follow((SECRET, FORMER))):
        assert states.all() == [shop]
    await writer.write_due()
    for read in (topic.follow((SECRET, FORMER)).all(), compacted(topic, SECRET, FORMER).all()):
        assert read == [shop]


async def test_a_former_secret_cannot_say_that_the_present_one_is_former() -> None:
    topic = KeyTopic()
    writer = topic.writer(topic.follow((SECRET, FORMER)))
    await writer.write(a_key("shop"))
    topic.put([former_writer(topic)._signed(FormerEnded(at=NOW))])

    assert writer.states.former_count
    assert topic.follow((SECRET, FORMER)).find("shop") is not None


async def test_a_revocation_counts_with_whichever_secret_it_is_signed() -> None:
    topic = KeyTopic()
    made = a_key("shop")
    writer = topic.writer(topic.follow((SECRET, FORMER)))
    await writer.write_due()
    await writer.write(made)
    topic.put([former_writer(topic)._signed(revoked(made, NOW))])

    assert writer.states.find("shop") is None
    await writer.write_due()
    assert compacted(topic, SECRET).find("shop") is None


@pytest.mark.parametrize("value", [b"{}", None])
async def test_what_nobody_signed_removes_nothing_when_the_log_is_compacted(value: bytes | None) -> None:
    topic = KeyTopic()
    shop, gone = a_key("shop"), a_key("gone")
    writer = topic.writer()
    for record in (shop, gone, revoked(gone, NOW)):
        await writer.write(record)
    topic.put([Outgoing(KEYS, record.key, value) for record in (shop, revoked(gone, NOW))])
    await writer.write_due()

    assert compacted(topic, SECRET).all() == [shop]


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


async def test_a_change_that_another_one_followed_at_once_was_made() -> None:
    topic = KeyTopic()
    writer = topic.writer()
    made = a_key("shop")
    after = rotated(made, NEW, 1000, NOW)
    [(_, first), (_, second), _, _] = topic.put(
        [
            writer._signed(each)
            for each in (
                made,
                after,
                rotated(after, "b" * 64, 0, NOW),
                without_secret(after, 1, NOW),
            )
        ]
    )

    assert [writer.states.was_made(*each) for each in ((made, first), (after, second))] == [True, True]
    assert not writer.states.was_made(without_secret(after, 1, NOW), 3)  # the other one came first


async def test_a_revocation_was_made_though_the_id_is_taken_again_at_once() -> None:
    topic = KeyTopic()
    writer = topic.writer()
    made = a_key("shop")
    records = (made, revoked(made, NOW), a_key("shop", creation="another", version=2))
    topic.put([writer._signed(each) for each in records])

    assert writer.states.was_made(revoked(made, NOW), 1)


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
    assert compacted(topic, SECRET).find("shop") == after


async def test_a_use_is_known_here_at_once_and_written_once_a_minute() -> None:
    topic = KeyTopic()
    now = [NOW]
    writer, other = topic.with_key(a_key("shop"), clock=lambda: now[0]), topic.writer()
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
    assert len(topic.records) == 1 + 2


async def test_a_use_that_could_not_be_written_is_written_later() -> None:
    topic = KeyTopic()
    writer = topic.with_key(a_key("shop"))
    writer.uses.note("shop", 1)
    topic.is_down = True
    await writer.write_due()
    topic.is_down = False
    await writer.write_due()

    assert topic.follow().used_at("shop", 1) == NOW


async def test_uses_of_what_ended_and_the_oldest_of_too_many_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic = KeyTopic()
    writer = topic.with_key(a_key("shop"))
    for number in (1, 2):
        writer.uses.note("shop", number)
    writer.uses.note("in-settings", 0)
    assert [used.key for used in writer.uses.to_write()] == [b"used:shop:1", b"used:in-settings:0"]
    assert writer.uses.at("shop", 2) is None

    monkeypatch.setattr("app.store.api_keys._MOST_USES", 2)
    writer.uses.note("shop", 1)
    writer.uses.note("another", 0)
    assert writer.uses.at("in-settings", 0) is None
    assert [writer.uses.at(*each) for each in (("shop", 1), ("another", 0))] == [NOW, NOW]


async def test_uses_go_on_being_written_after_whatever_went_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.api_keys._LOOK_EVERY_S", 0)
    topic = KeyTopic()
    writer = topic.with_key(a_key("shop"))
    writer.uses.note("shop", 1)
    publish, written = topic.publish_many, asyncio.Event()

    async def fails_once(records: Any) -> Any:
        async def goes_on(records: Any) -> Any:
            positions = await publish(records)
            written.set()
            return positions

        monkeypatch.setattr(topic, "publish_many", goes_on)
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(topic, "publish_many", fails_once)
    keeping = asyncio.create_task(writer.keep_written())
    async with asyncio.timeout(60):
        await written.wait()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)

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
