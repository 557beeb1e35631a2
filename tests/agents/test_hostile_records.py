"""Whatever stands in whatever field of whatever record: it is refused with the field, or all that it leads to is made,
stored, and read by everybody downstream."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.inbox.machine import InAppMachine
from app.domain.out import Out
from app.ports import Machine
from app.store.lifecycle_rows import row_of
from app.virtual import VirtualPartition
from schemas import topics
from schemas.decode import Invalid
from tables.rows import MemoryRows
from tests.agents.harness import Harness
from tests.agents.senders import email, push, sms
from tests.agents.stage import a_catalog
from tests.hostile import FIELDS, RECEIPT, REFUSED, TAKEN, texts, written_with
from tests.records import Record

RULES = """
defaults: {expires_after: 48h}
categories:
  orders: {channels: [in_app, sms]}
  other: {channels: [in_app], digest: gathered}
digests:
  gathered: {key: data.k, window: 10m, template: gathered, channels: [email]}
event_types:
  a.b: {category: other, template: note}
"""


def topic_of(record: dict[str, Any]) -> str:
    if record is RECEIPT:
        return topics.RECEIPTS
    return topics.COMMANDS if "at" in record else topics.EVENTS


def machines() -> list[Machine[Any, Any, Any]]:
    return [InAppMachine(a_catalog()), *(stage().machine for stage in (sms, push, email))]


@given(st.lists(st.tuples(st.sampled_from(FIELDS), st.one_of(texts, st.sampled_from(REFUSED + TAKEN))), max_size=6))
@settings(max_examples=250, deadline=None)
def test_a_record_is_refused_with_its_field_or_everybody_can_go_on_with_it(
    written: list[tuple[tuple[dict[str, Any], str], str]],
) -> None:
    router = Harness(policy=RULES)
    others = [VirtualPartition(machine, MemoryRows()) for machine in machines()]
    router.known()
    for number, ((record, field), text) in enumerate(written):
        named = {**record, "id": f"id{number}"} if "id" in record else record
        value = written_with(named, field, text)
        topic = topic_of(record)
        router.feed(topic, b"ann", value)
        if topic == topics.COMMANDS:
            for other in others:
                _taken(other, Record(topic, 0, number, router.now, b"ann", value), router.now)
    for number, send in enumerate(router.sends):
        for other in others:
            if other.machine.role == send.channel:
                value = msgspec.json.encode(send)
                lane = topics.send_topic(send.channel, "normal")
                _taken(other, Record(lane, 0, number, router.now, b"ann", value), router.now)
    router.after(49 * 3_600_000)
    for invalid in router.dead:
        _named(invalid)
    for number, event in enumerate(router.events):
        row_of(Record(topics.LIFECYCLE, 0, number, router.now, b"ann", msgspec.json.encode(event)))
    for view in ("profile", "devices", "preferences", "consents"):
        msgspec.json.encode(router.machine.read(view, "ann", {}, router.states[0], router.now))


NOT_JSON = [
    b"",
    b" ",
    b"{",
    b"[",
    b"nul",
    b"hello",
    b"[] {}",
    b"\xff\xfe",
    b"\0",
    b"\x89PNG\r\n",
    b'{"a": }',
    b"'a'",
    b'{"a"',
]
READ = [
    (role.machine, intake.topic)
    for role in (Harness(), sms(), push(), email())
    for intake in role.machine.subscriptions
]
READ += [(InAppMachine(a_catalog()), intake.topic) for intake in InAppMachine.subscriptions]


@pytest.mark.parametrize("value", NOT_JSON, ids=repr)
@pytest.mark.parametrize(("machine", "topic"), READ, ids=lambda one: one if isinstance(one, str) else one.role)
def test_what_is_not_json_at_all_is_undecodable_wherever_it_is_read(
    machine: Machine[Any, Any, Any], topic: str, value: bytes
) -> None:
    for headers in ((), (("content-type", b"application/cloudevents+json"),)):
        with pytest.raises(Invalid) as refused:
            VirtualPartition(machine, MemoryRows()).handle(Record(topic, 0, 0, 1, b"ann", value, headers), 1)
        assert refused.value.code == "undecodable"


def _taken(partition: VirtualPartition, record: Record, now: int) -> Out | None:
    try:
        return partition.handle(record, now)
    except Invalid as invalid:
        _named(invalid)
        return None


def _named(invalid: Invalid) -> None:
    assert invalid.field is not None
    msgspec.json.encode((invalid.field, invalid.reason))
