"""Every role judges for itself whether a record is in its place, whichever topic it lies on."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from agents.inbox.machine import InAppMachine
from agents.router.machine import RouterMachine
from agents.sender.context import ChannelConfig
from agents.sender.machine import SenderMachine
from app.domain.out import Out
from app.domain.partition import partition_of
from app.virtual import VirtualPartition
from schemas import topics
from schemas.decode import Invalid, Misplaced
from schemas.instants import rfc3339
from schemas.replays import ReplayRequest, encode_replay_request
from schemas.sends import encode_send
from schemas.verifications import CodeRequest, encode_verification
from tables.rows import MemoryRows
from tests.agents.harness import PROVIDERS, SECRET, catalog
from tests.agents.stage import NOON, a_catalog, a_send
from tests.records import Record

PARTITIONS = 4
USER = "u1"
HOME = partition_of(USER.encode(), PARTITIONS)
AWAY = (HOME + 1) % PARTITIONS
#: A key that belongs to the user's partition, too.
NEIGHBOUR = next(f"n{n}" for n in range(100) if partition_of(f"n{n}".encode(), PARTITIONS) == HOME)

MACHINES: dict[str, Callable[[], Any]] = {
    "router": lambda: RouterMachine(catalog(), partitions=PARTITIONS, providers=PROVIDERS, secret=SECRET),
    "in_app": lambda: InAppMachine(a_catalog(), partitions=PARTITIONS),
    **{
        channel: lambda channel=channel: SenderMachine(  # type: ignore[misc]
            a_catalog(), ChannelConfig(channel, {"twilio": 15_000}, partitions=PARTITIONS)
        )
        for channel in ("push", "email", "sms")
    },
}


def _send(channel: str) -> bytes:
    return encode_send(a_send(user_id=USER, channel=channel, send_id=f"5f1c9a52-0d57-8b0e-9a39-00000001{HOME:04x}"))


def _said(**fields: Any) -> bytes:
    return json.dumps({"id": "x", "at": rfc3339(NOON), "user_id": USER, **fields}).encode()


_NAMED = {"send_id": a_send().send_id, "notification_id": a_send().notification_id}
_RESULT = {"id": "x", "at": NOON, "user_id": USER, "status": "sent", "channel": "sms", **_NAMED}

#: A valid record of the user's, by topic. All of them are keyed by the user.
VALUES: dict[str, bytes] = {
    **dict.fromkeys(topics.EVENT_TOPICS, _said(event_type="order.shipped", content={"title": "t", "body": "b"})),
    topics.COMMANDS: _said(type="profile.set", email="u1@example.com"),
    topics.RECEIPTS: _said(status="opened", occurred_at=rfc3339(NOON), **_NAMED),
    topics.RESULTS: json.dumps(_RESULT).encode(),
    topics.BROADCASTS: json.dumps({"type": "token.dead", "token_hash": "ab", "user_id": USER, "since": NOON}).encode(),
    topics.VERIFICATIONS: encode_verification(
        CodeRequest(id="0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e", user_id=USER, channel="sms", address="ab" * 32)
    ),
    topics.REPLAY_REQUESTS: encode_replay_request(
        ReplayRequest(replay_id="0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e", user_id=USER, send=a_send(user_id=USER))
    ),
    **{topic: _send(channel) for channel, lanes in topics.SEND_TOPICS.items() for topic in lanes},
}

READ = [(role, intake.topic) for role, make in MACHINES.items() for intake in make().subscriptions]


@dataclass
class Read:
    """What a record came to: refused or not, rows that changed, and what was produced and called."""

    refused: Invalid | None
    rows: dict[str, dict[bytes, bytes]]
    out: Out

    @property
    def changed(self) -> bool:
        return any(self.rows.values()) or bool(self.out.calls)


def read(role: str, topic: str, value: bytes, key: bytes | None, partition: int) -> Read:
    rows = MemoryRows()
    virtual = VirtualPartition(MACHINES[role](), rows, partition)
    try:
        out = virtual.handle(Record(topic, partition, 0, NOON, key, value), NOON)
    except Invalid as invalid:
        return Read(invalid, rows.tables, Out())
    return Read(None, rows.tables, out)


def test_every_topic_that_a_role_reads_is_looked_at() -> None:
    assert {topic for _, topic in READ} == set(VALUES)


@pytest.mark.parametrize(("role", "topic"), READ)
def test_what_lies_in_its_place_is_taken(role: str, topic: str) -> None:
    got = read(role, topic, VALUES[topic], USER.encode(), HOME)

    assert got.refused is None or not isinstance(got.refused, Misplaced)


@pytest.mark.parametrize("key", [None, b"", NEIGHBOUR.encode(), b"\xff"], ids=("none", "empty", "other", "bytes"))
@pytest.mark.parametrize(("role", "topic"), READ)
def test_a_key_that_is_not_the_user_id_changes_nothing(role: str, topic: str, key: bytes | None) -> None:
    got = read(role, topic, VALUES[topic], key, HOME)

    if topic == topics.RECEIPTS and key is None:
        return  # it belongs where its send's id says
    assert isinstance(got.refused, Misplaced)
    assert got.refused.field == "key"
    assert not got.changed


@pytest.mark.parametrize(("role", "topic"), READ)
def test_another_partition_than_the_keys_changes_nothing_and_only_the_router_moves(role: str, topic: str) -> None:
    got = read(role, topic, VALUES[topic], USER.encode(), AWAY)

    assert not got.changed
    if role == "router" and not topic.startswith("tocsin_"):
        assert [(record.topic, record.partition) for record in got.out.records] == [(topic, HOME)]
    else:
        assert isinstance(got.refused, Misplaced)
        assert got.out.records == []


@pytest.mark.parametrize("role", MACHINES)
@pytest.mark.parametrize(
    "message",
    [
        {"type": "notification.cancel", "campaign_id": "c"},
        {"type": "suppression.add", "channel": "sms", "address": "+442071838750", "reason": "asked"},
        {"type": "suppression.remove", "channel": "sms", "address": "+442071838750"},
    ],
)
@pytest.mark.parametrize("partition", range(PARTITIONS))
def test_a_command_without_key_and_user_is_obeyed_where_it_lies(
    role: str, message: dict[str, Any], partition: int
) -> None:
    value = json.dumps({"id": "x", "at": rfc3339(NOON), **message}).encode()

    assert read(role, topics.COMMANDS, value, None, partition).changed
    keyed = read(role, topics.COMMANDS, value, USER.encode(), partition)
    assert isinstance(keyed.refused, Misplaced)
    assert not keyed.changed


@pytest.mark.parametrize("role", MACHINES)
@pytest.mark.parametrize(
    "message",
    [
        {"type": "user.erase"},
        {"type": "profile.set", "email": "u1@example.com"},
        {"type": "device.remove", "device_id": "d1"},
        {"type": "device.remove", "token_hash": "ab", "unless_user": "u2"},
    ],
)
def test_any_other_command_without_key_and_user_changes_nothing(role: str, message: dict[str, Any]) -> None:
    value = json.dumps({"id": "x", "at": rfc3339(NOON), **message}).encode()
    got = read(role, topics.COMMANDS, value, None, HOME)

    assert got.refused is not None
    assert not got.changed


@pytest.mark.parametrize("role", ["router", "push", "email", "sms"])
@pytest.mark.parametrize("key", [None, b"whatever"])
def test_a_receipt_without_user_belongs_where_its_send_id_says(role: str, key: bytes | None) -> None:
    message = {"id": "r", "occurred_at": rfc3339(NOON), "status": "opened", "send_id": a_send().send_id[:-4] + "0002"}
    value = json.dumps(message).encode()

    assert not isinstance(read(role, topics.RECEIPTS, value, key, 2).refused, Misplaced)
    astray = read(role, topics.RECEIPTS, value, key, 1)
    assert not astray.changed
    if role == "router":
        assert [record.partition for record in astray.out.records] == [2]
    else:
        assert isinstance(astray.refused, Misplaced)


@pytest.mark.parametrize("role", MACHINES)
@pytest.mark.parametrize("kind", ["token.taken", "address.suppressed"])
def test_a_broadcast_to_all_with_a_key_changes_nothing(role: str, kind: str) -> None:
    reported = {"token_hash": "ab", "user_id": USER, "since": NOON, "channel": "sms", "address_hash": "ab"}
    value = json.dumps({"type": kind, "reason": "stop", "at": NOON, **reported}).encode()

    assert read(role, topics.BROADCASTS, value, None, HOME).refused is None
    assert isinstance(read(role, topics.BROADCASTS, value, USER.encode(), HOME).refused, Misplaced)
