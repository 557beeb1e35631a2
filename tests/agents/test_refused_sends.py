"""A send whose record becomes a dead letter ends all the same, on every topic of every channel, whatever was wrong."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

import agents.inbox.machine
import agents.router.send_results
import agents.sender.machine
from agents.inbox.machine import InAppMachine
from app.domain.out import Out
from app.ports import Poison
from app.store.lifecycle_rows import row_of
from app.streaming.poison import Ended, Place, PoisonGuard, Suspect
from app.streaming.process import Oversized, Processor
from schemas.dead import read_dead
from schemas.lifecycle import LifecycleEvent, read_lifecycle
from schemas.results import SendResult, read_result
from schemas.sends import Withdraw, encode_send
from schemas.topics import DEAD, LIFECYCLE, RESULTS, SEND_TOPICS
from schemas.words import CHANNELS, Channel
from tables.rows import MemoryRows
from tests.agents.harness import Harness
from tests.agents.senders import email, push, sms
from tests.agents.stage import NOON, Stage, a_catalog, a_send
from tests.records import Record

STAGES: dict[str, Callable[[], Stage]] = {
    "push": push,
    "email": email,
    "sms": sms,
    "in_app": lambda: Stage(InAppMachine(a_catalog())),
}
TOPICS = [(channel, topic) for channel in CHANNELS for topic in SEND_TOPICS[channel]]


class Decided:
    """One record at a time, through the guard of one record; what came of them all."""

    def __init__(self, channel: str, guard: PoisonGuard | None = None) -> None:
        self.stage = STAGES[channel]()
        self.processor = Processor(
            self.stage.machine, self.stage.rows, 0, lambda *_: None, lambda *_: None, guard or PoisonGuard()
        )
        self.events: list[LifecycleEvent] = []
        self.results: list[SendResult] = []
        self.codes: list[str | None] = []
        self._offset = 0

    def take(self, topic: str, value: bytes, key: bytes = b"u1") -> None:
        self._offset += 1
        out = Out()
        with capture_logs():
            self.processor.handle(Record(topic, 0, self._offset, NOON, key, value), out, NOON)
        for table, rows in self.processor.changes().items():
            self.stage.rows.write(table, rows)
        self.processor.stored()
        for record in out.records:
            assert record.value is not None
            if record.topic == LIFECYCLE:
                row_of(Record(LIFECYCLE, 0, 0, NOON, record.key, record.value))
                self.events.append(read_lifecycle(record.value))
            elif record.topic == RESULTS:
                self.results.append(read_result(record.value))
            elif record.topic == DEAD:
                self.codes.append(read_dead(record.value).code)

    def ends(self) -> list[tuple[str, str | None]]:
        """The send's, as events and as results have them, which agree."""
        told: list[tuple[str, str | None]] = [
            (event.status, event.reason) for event in self.events if event.status in ("failed", "cancelled")
        ]
        assert told == [(result.status, result.reason) for result in self.results]
        return told


def send_of(channel: str, /, **changes: Any) -> dict[str, Any]:
    send = a_send(channel=channel, device_id="d1" if channel == "push" else None)
    said: dict[str, Any] = msgspec.json.decode(encode_send(send))
    return said | changes


@contextmanager
def every_send_raises(error: Exception) -> Iterator[None]:
    def raises(*_: Any) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(agents.sender.machine, "proceed", raises)
        patched.setattr(agents.inbox.machine, "look", raises)
        yield


FAILURES = [
    (ZeroDivisionError(), "internal", "permanent"),
    (MemoryError(), "internal", "permanent"),
    (RecursionError(), "internal", "permanent"),
    (Poison("ended the process"), "poison", "permanent"),
    (Oversized("leads to too much"), "too_large", "too_large"),
]


@pytest.mark.parametrize(("error", "code", "reason"), FAILURES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(("channel", "topic"), TOPICS)
def test_a_send_that_cannot_be_taken_ends_once(
    channel: Channel, topic: str, error: Exception, code: str, reason: str
) -> None:
    decided = Decided(channel)
    value = msgspec.json.encode(send_of(channel))
    with every_send_raises(error):
        decided.take(topic, value)
        decided.take(topic, value)
    decided.take(topic, value)
    assert decided.codes[0] == code
    assert decided.ends() == [("failed", reason)]
    assert decided.events[0].send_id == a_send().send_id
    assert decided.events[0].event_type == "order.shipped"
    assert not decided.stage.rows_of("schedule")


KNOWN = ("send_id", "notification_id", "user_id", "channel", "kind")
SPOILT = ["nobody knows it", -1, 2**70, None, [], {}, 1.5, True]


@pytest.mark.parametrize("version", [-1, 2**32])
@pytest.mark.parametrize("field", ["template_version", "policy_version"])
def test_a_version_that_no_row_can_hold_is_refused(field: str, version: int) -> None:
    decided = Decided("sms")
    decided.take(SEND_TOPICS["sms"][1], msgspec.json.encode(send_of("sms", **{field: version})))
    assert decided.codes == ["invalid"]
    assert decided.ends() == [("failed", "permanent")]


@given(st.sampled_from(TOPICS), st.data())
def test_whichever_fields_cannot_be_read_the_send_that_is_named_ends_once(
    where: tuple[Channel, str], data: st.DataObject
) -> None:
    channel, topic = where
    fields = sorted(send_of(channel).keys() - set(KNOWN))
    spoilt = data.draw(st.dictionaries(st.sampled_from(fields), st.sampled_from(SPOILT), min_size=1, max_size=4))
    decided = Decided(channel)
    decided.take(topic, msgspec.json.encode(send_of(channel, **spoilt)))
    if decided.codes:
        assert decided.codes == ["invalid"]
        assert decided.ends() == [("failed", "permanent")]


@pytest.mark.parametrize(("channel", "topic"), TOPICS)
def test_a_letter_that_names_no_send_of_this_place_ends_none(channel: Channel, topic: str) -> None:
    other = next(each for each in CHANNELS if each != channel)
    refused = [
        send_of(channel, send_id="no id", policy_version="x"),
        send_of(channel, channel=other),
        {"kind": "send", "send_id": a_send().send_id},
        {"kind": "withdraw", "send_id": a_send().send_id, "user_id": "u1", "status": "nonsense"},
        [],
    ]
    decided = Decided(channel)
    for said in refused:
        decided.take(topic, msgspec.json.encode(said))
    decided.take(topic, b"\xff{")
    decided.take(topic, msgspec.json.encode(send_of(channel, priority="x")), key=b"somebody else")
    assert len(decided.codes) == len(refused) + 2
    assert decided.events == []
    assert decided.results == []


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_second_copy_that_cannot_be_taken_leaves_the_first_alone(channel: Channel) -> None:
    decided = Decided(channel)
    decided.take(SEND_TOPICS[channel][1], msgspec.json.encode(send_of(channel)))
    before = len(decided.events)
    decided.take(SEND_TOPICS[channel][1], msgspec.json.encode(send_of(channel, priority="x")))
    assert decided.codes == ["invalid"]
    assert len(decided.events) == before


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_was_taken_back_before_it_came_ends_as_it_was_taken_back(channel: Channel) -> None:
    decided = Decided(channel)
    back = Withdraw(send_id=a_send().send_id, user_id="u1", status="cancelled", by="somebody")
    decided.take(SEND_TOPICS[channel][0], encode_send(back))
    decided.take(SEND_TOPICS[channel][1], msgspec.json.encode(send_of(channel, priority="x")))
    assert decided.ends() == [("cancelled", None)]


@pytest.mark.parametrize("channel", CHANNELS)
def test_an_end_that_ended_the_process_too_is_not_tried_for_ever(channel: Channel) -> None:
    guard = PoisonGuard()
    topic = SEND_TOPICS[channel][1]
    place = Place(1, 0, topic.encode(), 1, NOON)
    guard._suspects = {place: Suspect(place, 5, 5, 0.0)}
    with pytest.raises(Ended):
        guard.record(Record(topic, 0, 1, NOON, b"u1", b""))
    decided = Decided(channel, guard)
    decided.take(topic, msgspec.json.encode(send_of(channel)))
    assert decided.codes == ["poison"]
    assert decided.events == []


def test_the_end_that_a_result_reports_is_noted_though_what_follows_from_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router = Harness()
    router.known()
    router.request(user_id="ann", event_type="order.shipped")
    [send] = [send for send in router.sends if send.channel == "email"][:1] or router.sends[:1]

    def raises(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(agents.router.send_results, "send_ended", raises)
    partition = router._virtual[0]
    processor = Processor(router.machine, partition.rows, 0, lambda *_: None, lambda *_: None)
    result = SendResult(
        id="r1",
        at=router.now,
        status="failed",
        user_id="ann",
        notification_id=send.notification_id,
        send_id=send.send_id,
        channel=send.channel,
        reason="permanent",
    )
    out = Out()
    with capture_logs():
        record = Record(RESULTS, 0, 9_000, router.now, b"ann", msgspec.json.encode(result))
        processor.handle(record, out, router.now)
    assert [read_dead(each.value or b"").code for each in out.records if each.topic == DEAD] == ["internal"]
    rows = MemoryRows()
    for table, changes in processor.changes().items():
        rows.write(table, changes)
    state = router.machine.open(rows, 0)
    ends = [s.end for _, row in state.notifications.scan(b"", None, 10) for part in row.parts for s in part.sends]
    assert "failed" in ends
