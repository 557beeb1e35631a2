"""The suppression list holds keyed hashes only, whatever the revision before left, and forgets nothing by that."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from agents.inbox.machine import InAppMachine
from agents.router.machine import RouterMachine
from agents.sender.context import ChannelConfig
from agents.sender.machine import SenderMachine
from app.domain.addresses import parsed_hash
from app.domain.keyed import HashKeys, UnknownKey
from app.virtual import VirtualPartition
from schemas.broadcasts import AddressSuppressed
from schemas.instants import parse_ms
from schemas.topics import COMMANDS
from schemas.words import Channel
from tables.knowledge import Knowledge
from tables.rows import MemoryRows
from tables.suppressions import Suppression, SuppressionList
from tests.agents.stage import a_catalog
from tests.records import Record

NOON = parse_ms("2026-03-04T12:00:00Z")
OLD, NEW = "o" * 32, "n" * 32
KEYS = HashKeys(NEW.encode())
ADDRESSES: dict[Channel, str] = {"email": "ann@example.com", "sms": "+442071838750", "push": "token", "in_app": "ann"}

MACHINES: dict[str, Callable[[], Any]] = {
    "router": lambda: RouterMachine(a_catalog(), partitions=1, providers={}, secret=NEW.encode()),
    "in_app": lambda: InAppMachine(a_catalog(), keys=KEYS),
    **{
        channel: lambda channel=channel: SenderMachine(a_catalog(), ChannelConfig(channel, {}, keys=KEYS))  # type: ignore[misc]
        for channel in ("push", "email", "sms")
    },
}


def plain_key(channel: Channel, address: str) -> bytes:
    """Where the revision before kept an address."""
    return channel.encode() + b"\0" + parsed_hash(channel, address)


def stored_before(count: int = 0) -> MemoryRows:
    """One address of each channel, and more mail addresses, as the revision before kept them."""
    rows = MemoryRows()
    row = b"\x01" + msgspec.msgpack.encode(["hard_bounce", NOON, False, True, None])
    addresses = [*ADDRESSES.items(), *(("email", f"u{n}@example.com") for n in range(count))]
    rows.write("suppressions", {plain_key(channel, address): row for channel, address in addresses})
    return rows


def plain_rows(rows: MemoryRows) -> list[bytes]:
    return [key for key in rows.tables["suppressions"] if key[:1] != b"\0" and b"\1" not in key[:7]]


def written(rows: MemoryRows, listed: SuppressionList) -> None:
    rows.write("suppressions", listed.table.changes())
    listed.table.clear()


@pytest.mark.parametrize("channel", ADDRESSES)
def test_what_stays_of_an_address_is_known_by_the_secret_only(channel: Channel) -> None:
    plain = parsed_hash(channel, ADDRESSES[channel])
    kept = []
    for secret in (OLD, NEW):
        rows = MemoryRows()
        knowledge = Knowledge(rows, HashKeys(secret.encode()))
        knowledge.learn(AddressSuppressed(channel=channel, address_hash=plain.hex(), reason="complaint", at=NOON))
        assert knowledge.is_suppressed_hash(channel, plain)
        changes = next(t.changes() for t in knowledge.tables() if t.spec.name == "suppressions")
        everything = b"".join(part or b"" for change in changes.items() for part in change)
        assert plain not in everything
        assert plain.hex().encode() not in everything
        assert secret.encode() not in everything
        kept.append(set(changes))
    assert not kept[0] & kept[1]


@pytest.mark.parametrize("channel", ADDRESSES)
def test_a_row_of_the_revision_before_suppresses_until_it_is_removed(channel: Channel) -> None:
    plain = parsed_hash(channel, ADDRESSES[channel])
    rows = stored_before()
    listed = SuppressionList(rows, KEYS)
    assert listed.get(channel, plain) == Suppression("hard_bounce", NOON, reported=True)
    listed.put(channel, plain, Suppression(None, NOON, removed=True))
    written(rows, listed)
    assert plain_key(channel, ADDRESSES[channel]) not in rows.tables["suppressions"]
    found = SuppressionList(rows, KEYS).get(channel, plain)
    assert found is not None
    assert found.removed


def test_rows_of_the_revision_before_are_rewritten_in_slices_and_suppress_meanwhile() -> None:
    rows = stored_before(count=50)
    listed = SuppressionList(rows, KEYS)
    steps = 0
    while plain_rows(rows):
        listed.rekey(limit=7)
        assert len(listed.table.changes()) <= 2 * 7 + 1
        written(rows, listed)
        assert all(listed.get(channel, parsed_hash(channel, address)) for channel, address in ADDRESSES.items())
        steps += 1
        assert steps < 50
    assert len(rows.tables["suppressions"]) == 54 + 1
    listed.rekey()
    listed.rekey()
    assert all(listed.get("email", parsed_hash("email", f"u{n}@example.com")) for n in range(50))


@pytest.mark.parametrize("undone", ["record", "batch"])
def test_a_step_that_is_undone_is_done_again(undone: str) -> None:
    rows = stored_before(count=3)
    listed = SuppressionList(rows, KEYS)
    for _ in range(4):
        listed.table.begin()
        listed.rekey()
        if undone == "record":
            listed.table.rollback()
    listed.table.clear()
    assert all(listed.get(channel, parsed_hash(channel, address)) for channel, address in ADDRESSES.items())
    for _ in range(4):
        listed.rekey()
        written(rows, listed)
    assert plain_rows(rows) == []


@pytest.mark.parametrize("role", MACHINES)
def test_every_role_rewrites_what_the_revision_before_left(role: str) -> None:
    rows = stored_before(count=30)
    partition = VirtualPartition(MACHINES[role](), rows)
    for offset in range(4):
        command = {"type": "activity.seen", "id": f"c{offset}", "at": "2026-03-04T12:00:00Z", "user_id": "ann"}
        partition.handle(Record(COMMANDS, 0, offset, NOON, b"ann", msgspec.json.encode(command)), NOON)
    assert plain_rows(rows) == []
    knowledge = Knowledge(rows, KEYS)
    assert all(knowledge.is_suppressed(channel, address) for channel, address in ADDRESSES.items())


# --- the secret is changed, or lost ---


def listed_with(secret: str) -> MemoryRows:
    rows = MemoryRows()
    listed = SuppressionList(rows, HashKeys(secret.encode()))
    for channel, address in ADDRESSES.items():
        listed.put(channel, parsed_hash(channel, address), Suppression("complaint", NOON))
    written(rows, listed)
    return rows


def test_what_was_listed_with_a_former_secret_suppresses_and_can_be_removed() -> None:
    rows = listed_with(OLD)
    listed = SuppressionList(rows, HashKeys(NEW.encode(), (OLD,)))
    for channel, address in ADDRESSES.items():
        plain = parsed_hash(channel, address)
        assert listed.get(channel, plain) == Suppression("complaint", NOON)
        listed.put(channel, plain, Suppression(None, NOON, removed=True))
        written(rows, listed)
        found = listed.get(channel, plain)
        assert found is not None
        assert found.removed
    assert len(rows.tables["suppressions"]) == len(ADDRESSES) + 2  # two fingerprints


def test_a_list_whose_secret_is_missing_is_not_taken_for_an_empty_one() -> None:
    with pytest.raises(UnknownKey) as refusal:
        Knowledge(listed_with(OLD), KEYS)
    words = str(refusal.value)
    assert HashKeys(OLD.encode()).fingerprint in words
    assert "installation.former_secrets" in words
    assert OLD not in words


@pytest.mark.parametrize("role", MACHINES)
def test_no_role_opens_a_list_whose_secret_is_missing(role: str) -> None:
    with pytest.raises(UnknownKey):
        MACHINES[role]().open(listed_with(OLD), 0)


def test_a_list_whose_secret_is_said_to_be_lost_opens_and_is_forgotten() -> None:
    rows = listed_with(OLD)
    listed = SuppressionList(rows, HashKeys(NEW.encode(), (f"lost:{HashKeys(OLD.encode()).fingerprint}",)))
    assert listed.get("email", parsed_hash("email", ADDRESSES["email"])) is None
