"""What was asked for against what was told of it: each side of every join, by the ids that follow from the records."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from app.audit.balance import BalanceTerms, _Gathering
from app.audit.findings import Finding
from app.audit.scratch import Scratch
from app.domain.ids import event_id, keyed_notification_id, positioned_notification_id
from app.domain.origin import ORIGIN, signed_origin
from schemas.dead import dead_letter, encode_dead
from schemas.instants import rfc3339
from schemas.topics import DEAD, EVENTS, LIFECYCLE

NOW, OPEN = 1_795_168_800_000, 60_000
PAST = NOW - 3_600_000
SECRET = b"a secret of the installation"
SHOP = {"event_type": "order.shipped", "source": "shop"}


class Log:
    """Topics of one partition, and what an audit makes of them."""

    def __init__(self, folder: Path) -> None:
        self._scratch = Scratch(folder)
        terms = BalanceTerms(2, None, NOW, OPEN, SECRET)
        self._gathering = _Gathering(terms, self._scratch)
        self._gathering._whole = {0: True, 1: True}
        self._gathering._handled = {TopicPartition(EVENTS, 0): 100, TopicPartition(EVENTS, 1): 100}
        self._ends: dict[tuple[str, int], int] = {}

    def put(
        self, topic: str, key: str | None, value: bytes | None, headers: Any = (), partition: int = 0
    ) -> ConsumerRecord:
        offset = self._ends.get((topic, partition), 0)
        self._ends[topic, partition] = offset + 1
        name = None if key is None else key.encode()
        size = len(value or b"")
        record = ConsumerRecord(topic, partition, offset, PAST, 0, name, value, None, 0, size, headers)
        self._gathering._take(topic, record)
        return record

    def ask(self, user: str = "ann", partition: int = 0, headers: Any = (), **fields: Any) -> ConsumerRecord:
        value = json.dumps({"user_id": user, "content": {"title": "t", "body": "b"}, **SHOP, **fields}).encode()
        return self.put(EVENTS, user, value, headers, partition)

    def report(self, status: str, cause: str, notification: str, user: str = "ann", **fields: Any) -> ConsumerRecord:
        subject = fields.get("send_id") or f"{notification}\n{user}\n{fields.get('channel') or ''}"
        event = {
            "event_id": event_id(subject, status, None, cause),
            "notification_id": notification,
            "user_id": user,
            "status": status,
            "occurred_at": rfc3339(PAST),
            **fields,
        }
        return self.put(LIFECYCLE, user, json.dumps(event).encode())

    def took(self, record: ConsumerRecord, notification: str) -> None:
        """What the router reports of a request that it accepts, and of which nothing goes out."""
        cause = f"{record.topic}:{record.partition}:{record.offset}"
        self.report("accepted", cause, notification)
        self.report("suppressed", cause, notification, reason="no_channel")

    def evaluated(self) -> Finding:
        self._scratch.settle()
        return self._gathering.evaluate(NOW)

    def close(self) -> None:
        self._scratch.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "scratch")
    yield log
    log.close()


def test_what_was_asked_and_accepted_balances(log: Log) -> None:
    log.took(log.ask(idempotency_key="1"), keyed_notification_id("shop", "1"))
    unnamed = log.ask()
    log.took(unnamed, positioned_notification_id(EVENTS, 0, unnamed.offset))
    found = log.evaluated()

    assert found.differences == []
    assert (found.covered["requests"], found.covered["recipients"], found.covered["ends"]) == (2, 2, 2)


def test_a_request_without_an_answer_is_named(log: Log) -> None:
    log.took(log.ask(idempotency_key="1"), keyed_notification_id("shop", "1"))
    lost = log.ask(idempotency_key="2")
    [found] = log.evaluated().differences

    assert (found.where, found.partition, found.position, found.key) == (EVENTS, 0, lost.offset, "ann")
    assert keyed_notification_id("shop", "2") in found.what


def test_a_request_may_be_answered_as_repeated(log: Log) -> None:
    name = keyed_notification_id("shop", "1")
    log.took(log.ask(idempotency_key="1"), name)
    again = log.ask(idempotency_key="1")
    log.report("repeated", f"{EVENTS}:0:{again.offset}", name)

    assert log.evaluated().differences == []


@pytest.mark.parametrize("value", [b"not JSON", b'{"user_id": "ann", "event_type": 7}', b'{"user_id": "another"}'])
def test_what_can_not_be_taken_needs_a_dead_letter(log: Log, value: bytes) -> None:
    refused = log.put(EVENTS, "ann", value)
    letter = dead_letter(refused, "invalid", "because", None, "router", NOW)
    log.put(DEAD, "ann", encode_dead(letter))
    silent = log.put(EVENTS, "ann", value)
    [found] = log.evaluated().differences

    assert (found.position, "no dead letter" in found.what) == (silent.offset, True)


def test_a_record_without_a_value_asks_for_nothing(log: Log) -> None:
    log.put(EVENTS, "ann", None)

    assert log.evaluated().differences == []


def test_a_moved_record_is_known_by_its_first_place(log: Log) -> None:
    first = log.ask(partition=1)
    place = f"{EVENTS}:1:{first.offset}"
    signed = signed_origin(SECRET, place, first.key, first.value, ())
    log.ask(headers=((ORIGIN, signed),))
    name = positioned_notification_id(EVENTS, 1, first.offset)
    log.report("accepted", place, name)
    log.report("suppressed", place, name, reason="no_channel")

    assert log.evaluated().differences == []


def test_a_record_with_a_forged_first_place_is_another(log: Log) -> None:
    log.took(log.ask(), positioned_notification_id(EVENTS, 0, 0))
    forged = log.ask(headers=((ORIGIN, f"{EVENTS}:0:0:forged".encode()),))
    [found] = log.evaluated().differences

    assert found.position == forged.offset


def test_an_accepted_that_nobody_asked_for_is_named(log: Log) -> None:
    reported = log.report("accepted", "nowhere:0:0", "made up", source="shop")
    log.report("suppressed", "nowhere:0:0", "made up", reason="no_channel")
    [found] = log.evaluated().differences

    assert (found.where, found.position, found.key) == (LIFECYCLE, reported.offset, "ann")
    assert "no record asked for" in found.what


def test_a_digest_was_asked_for_by_its_items(log: Log) -> None:
    asked = log.ask(idempotency_key="1")
    cause, name = f"{EVENTS}:0:{asked.offset}", keyed_notification_id("shop", "1")
    log.report("accepted", cause, name)
    log.report("aggregated", "due", name, channel="email", detail={"into": "the digest"})
    log.report("accepted", "due", "the digest", source="tocsin")
    log.report("suppressed", "due", "the digest", reason="no_channel")

    assert log.evaluated().differences == []


def test_a_digest_of_nothing_is_named(log: Log) -> None:
    log.report("accepted", "due", "the digest", source="tocsin")
    log.report("suppressed", "due", "the digest", reason="no_channel")

    assert ["the digest" in each.what for each in log.evaluated().differences] == [True]


def test_events_of_what_was_never_accepted_are_named(log: Log) -> None:
    reported = log.report("sent", "x", "made up", channel="push", send_id="s1")
    [found] = log.evaluated().differences

    assert (found.position, "never accepted" in found.what) == (reported.offset, True)


def test_an_event_is_written_again_byte_for_byte_only(log: Log) -> None:
    name = keyed_notification_id("shop", "1")
    log.took(log.ask(idempotency_key="1"), name)
    log.report("accepted", f"{EVENTS}:0:0", name)
    assert log.evaluated().differences == []

    log.report("accepted", f"{EVENTS}:0:0", name, category="another")
    assert any("written differently" in each.what for each in log.evaluated().differences)


def test_what_is_no_event_is_named(log: Log) -> None:
    junk = log.put(LIFECYCLE, "ann", b"junk")
    other = log.put(LIFECYCLE, "bob", json.dumps({"event_id": "x", "user_id": "ann"}).encode())
    found = log.evaluated().differences

    assert [(each.position, each.key) for each in found] == [(junk.offset, "ann"), (other.offset, "bob")]


def test_requests_that_the_router_has_not_handled_are_not_judged(log: Log) -> None:
    log._gathering._handled = {}
    log.ask()

    assert log.evaluated().differences == []
