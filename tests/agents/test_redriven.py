"""A record that was put back: it is known by its first place, and any number of copies of a place has the effect of
one, in every role that reads the topic, wherever a copy lies and whatever was said in between."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from app.domain.ids import positioned_notification_id
from app.domain.origin import FIRST_LETTER, ORIGIN
from app.domain.partition import partition_of
from app.domain.redrive import Original, headers_of, original_of
from schemas import topics
from schemas.dead import Contents, dead_letter
from schemas.instants import rfc3339
from schemas.lifecycle import read_lifecycle
from schemas.requests import MAX_RECORD_BYTES
from tests.agents.harness import HOUR, NOON, SECRET
from tests.fuzz.corpus import CLOUD_EVENT, COMMANDS, REQUESTS, accepting, command, introduced
from tests.fuzz.machines import PARTITIONS, Machines
from tests.records import Record

DAY = 24 * HOUR
HOME = partition_of(b"ann", PARTITIONS)


class Kind(NamedTuple):
    """A record that was refused once. ``key`` None: a receipt that only names its send."""

    topic: str
    value: dict[str, Any]
    key: bytes | None = b"ann"
    headers: Sequence[tuple[str, bytes | None]] = ()


def world() -> Machines:
    """With users, and with sends that were made."""
    machines = introduced(Machines(accepting))
    for said in REQUESTS[:3]:
        machines.feed(topics.EVENTS, b"ann", json.dumps({"user_id": "ann", **said}).encode())
    return machines


def sent(machines: Machines, channel: str) -> Any:
    return next(e for e in machines.events if e.status == "sent" and e.channel == channel and e.user_id == "ann")


def receipts() -> list[Kind]:
    machines = world()
    found = []
    for channel in ("email", "push", "sms"):
        event = next((e for e in machines.events if e.status == "sent" and e.channel == channel), None)
        if event is None:
            continue
        for status in ("delivered", "opened", "clicked", "bounced", "complained", "unsubscribed", "failed"):
            said = {
                "id": f"r-{channel}-{status}",
                "user_id": "ann",
                "notification_id": event.notification_id,
                "send_id": event.send_id,
                "status": status,
                "reason": "stop" if (channel, status) == ("sms", "unsubscribed") else "hard",
                "occurred_at": rfc3339(NOON),
            }
            found.append(Kind(topics.RECEIPTS, said))
            bare = {name: value for name, value in said.items() if name not in ("user_id", "notification_id")}
            found.append(Kind(topics.RECEIPTS, bare, None))
    return found


def keyless(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name not in ("idempotency_key", "notification_id")}


KINDS = [
    *(Kind(topics.EVENTS, {"user_id": "ann", **said}) for said in REQUESTS),
    *(Kind(topics.EVENTS_BULK, {"user_id": "ann", **keyless(said), "data": {"again": 1}}) for said in REQUESTS),
    Kind(topics.EVENTS_CRITICAL, {"user_id": "ann", **REQUESTS[1]}),
    Kind(topics.EVENTS, CLOUD_EVENT, headers=(("content-type", b"application/cloudevents+json"),)),
    *(Kind(topics.COMMANDS, command(500 + number, said)) for number, said in enumerate(COMMANDS)),
    Kind(topics.COMMANDS, {**command(600, COMMANDS[-3]), "user_id": None}, None),
    *receipts(),
]


def words(kind: Kind) -> str:
    return f"{kind.topic} {kind.value.get('type') or kind.value.get('status') or kind.value.get('event_type')}"


def original(kind: Kind, partition: int, recorded_ms: int = NOON) -> Original:
    """The record as it lay at offset 999 of a partition, where nobody has read anything."""
    value = json.dumps(kind.value).encode()
    letter = dead_letter(
        Record(kind.topic, partition, 999, recorded_ms, kind.key, value, kind.headers),
        "internal",
        "internal error: KeyError",
        None,
        "router",
        NOON,
    )
    return original_of(letter, SECRET)


def put_back(machines: Machines, it: Original, letter_id: str = "0-1") -> None:
    key, value, _ = it.contents
    headers = headers_of(it, letter_id, SECRET)
    machines.feed(it.topic, key, value, partition=it.partition, timestamp=it.timestamp_ms, headers=headers)


def tables(machines: Machines) -> Any:
    """Every row; of ``applied`` the keys, as its rows have the offsets of later commands, too."""
    return {
        where: {name: set(rows) if name == "applied" else dict(rows) for name, rows in owner.rows.tables.items()}
        for where, owner in _owners(machines)
    }


def _owners(machines: Machines) -> Any:
    return machines._owners.items()


def told(machines: Machines) -> set[bytes]:
    return {msgspec.json.encode(event) for event in machines.events}


@pytest.mark.parametrize("kind", KINDS, ids=words)
@pytest.mark.parametrize("wrong", [0, 1], ids=["in its partition", "in another"])
def test_further_copies_of_a_place_change_nothing_in_any_role(kind: Kind, wrong: int) -> None:
    machines = world()
    machines.strict = False
    it = original(kind, (HOME + wrong) % PARTITIONS)
    put_back(machines, it)
    machines.after(HOUR)
    before, events, sends = tables(machines), told(machines), _calls(machines)
    for hours in (0, 1, 3 * 24):
        machines.after(hours * HOUR)
        before = tables(machines)
        put_back(machines, it, f"0-{hours}")
        assert tables(machines) == before
        machines.after(1)

    after = {read_lifecycle(event).event_id for event in told(machines)}
    by_copies = {event for event in told(machines) - events if read_lifecycle(event).status == "accepted"}
    assert by_copies == set()
    assert {read_lifecycle(event).event_id for event in events} <= after
    assert _calls(machines) >= sends


def _calls(machines: Machines) -> set[bytes]:
    return {record.value or b"" for record in machines.produced if record.topic.startswith("notify_send_")}


IN_BETWEEN = [
    {"type": "suppression.remove", "channel": "email", "address": "ann@example.com"},
    {"type": "preferences.set", "preferences": {"channels": {"push": True, "sms": True}}},
    {"type": "device.add", "device_id": "d9", "platform": "android", "token": "another token"},
    {"type": "consent.set", "channel": "sms", "category": "marketing", "granted": False},
    {"type": "activity.seen", "timezone": "Asia/Tokyo"},
]


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    st.sampled_from(KINDS),
    st.lists(st.integers(0, PARTITIONS - 1), min_size=1, max_size=4),
    st.lists(st.sampled_from(IN_BETWEEN), max_size=3),
    st.booleans(),
)
def test_any_number_of_redrives_and_restarts_has_the_effect_of_one(
    kind: Kind, elsewhere: list[int], between: list[dict[str, Any]], restarts: bool
) -> None:
    """``elsewhere``: in which partitions further copies lie; a letter of a moved record has another one than its
    first place."""
    if kind.key is None and kind.topic == topics.COMMANDS:
        elsewhere = [HOME] * len(elsewhere)  # (one without a user is obeyed where it lies)
    worlds = [world(), world()]
    for number, machines in enumerate(worlds):
        machines.strict = False
        it = original(kind, HOME)
        put_back(machines, it)
        machines.after(HOUR)
        for order, said in enumerate(between):
            later = {**command(700 + order, said), "at": rfc3339(machines.now)}
            machines.feed(topics.COMMANDS, b"ann", json.dumps(later).encode())
        machines.after(HOUR)
        for partition in elsewhere:
            if restarts:
                machines.restart()
            if number == 0:
                continue
            copy = Original(it.place, it.first, it.topic, partition, it.timestamp_ms, it.contents)
            put_back(machines, copy)
        for user in (b"ann", b"bob"):  # (a process that begins has work of its own with its first record)
            last = {**command(800, {"type": "activity.seen"}, user.decode()), "at": rfc3339(machines.now)}
            machines.feed(topics.COMMANDS, user, json.dumps(last).encode())
        machines.after(HOUR)

    once, often = worlds
    assert tables(often) == tables(once)
    assert told(often) == told(once)
    assert _calls(often) == _calls(once)


def test_a_keyless_request_keeps_the_id_of_its_first_place() -> None:
    machines = world()
    it = original(Kind(topics.EVENTS, {"user_id": "ann", **keyless(REQUESTS[0]), "data": {"a": 1}}), HOME)
    put_back(machines, it)

    accepted = [e for e in machines.events if e.status == "accepted"][-1]
    assert accepted.notification_id == positioned_notification_id(topics.EVENTS, HOME, 999)
    assert (accepted.detail or {})["origin"] == f"{topics.EVENTS}:{HOME}:999"


def test_a_corrected_record_keeps_the_place_too_and_a_copy_of_it_changes_nothing() -> None:
    machines = world()
    it = original(Kind(topics.EVENTS, {"user_id": "ann", "event_type": "nothing.known"}), HOME)
    put_back(machines, it)
    assert len(machines.letters) == 1
    value = json.dumps({"user_id": "ann", "event_type": "mail.sent", "content": {"title": "t", "body": "b"}}).encode()
    corrected = Original(it.place, it.first, it.topic, HOME, it.timestamp_ms, Contents(b"ann", value, []))
    for _ in range(3):
        put_back(machines, corrected)
        put_back(machines, it)

    ids = [e.notification_id for e in machines.events if e.status == "accepted"]
    assert ids.count(positioned_notification_id(topics.EVENTS, HOME, 999)) == 1


def test_a_letter_of_a_redriven_record_names_its_first_place_and_its_first_letter() -> None:
    machines = world()
    it = original(Kind(topics.EVENTS, {"user_id": "ann", "event_type": "nothing.known"}), (HOME + 1) % PARTITIONS)
    put_back(machines, it, "3-17")
    again = original_of(machines.letters[-1], SECRET)
    put_back(machines, again, "3-18")
    third = original_of(machines.letters[-1], SECRET)

    assert (again.place, again.first) == (third.place, third.first) == (it.place, "3-17")
    assert again.contents == third.contents == it.contents


@pytest.mark.parametrize("bytes_left", [0, 1, 100])
def test_our_headers_make_no_record_too_large(bytes_left: int) -> None:
    said = {"user_id": "ann", "event_type": "mail.sent", "content": {"title": "t", "body": "b"}, "x": ""}
    room = MAX_RECORD_BYTES - len(json.dumps(said).encode()) - len(b"ann") - bytes_left
    machines = world()
    put_back(machines, original(Kind(topics.EVENTS, {**said, "x": "x" * room}), (HOME + 1) % PARTITIONS))

    assert machines.letters == []
    assert [e.status for e in machines.events if (e.detail or {}).get("origin")] == ["accepted"]


@pytest.mark.parametrize("header", [ORIGIN, FIRST_LETTER])
def test_what_nobody_signed_is_as_any_other_header(header: str) -> None:
    value = b'{"user_id": "ann", "event_type": "mail.sent", "content": {"title": "t", "body": "b"}}'
    record = Record(topics.EVENTS, 0, 7, NOON, b"ann", value, [(header, b"0-1"), ("a", b"b")])
    it = original_of(dead_letter(record, "internal", "x", None, "router", NOON), SECRET)

    assert (it.place, it.first) == (f"{topics.EVENTS}:0:7", None)
    assert ("a", b"b") in it.contents.headers
    assert (ORIGIN, b"0-1") not in it.contents.headers
