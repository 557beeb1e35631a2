"""Tokens that the revision before stored as they were written: after an upgrade each has one form and one owner."""

import msgspec
import pytest

from app.domain.addresses import parsed_hash
from app.domain.partition import partition_of
from app.virtual import VirtualPartition
from schemas.commands import read_command
from tables.knowledge import Knowledge
from tables.router import NORMALIZED
from tests.agents.harness import NOON, Harness

CANONICAL = "ab" * 32


def upgraded(partitions: int, devices: list[tuple[str, str, int]]) -> Harness:
    """A router that opens the tables of the revision before: (user, token as written, registered)."""
    router = Harness(partitions=partitions)
    for user, token, registered_ms in devices:
        hashed = parsed_hash("push", token)
        device = ["d", "ios", token, hashed, registered_ms, None, None]
        profile: list[object] = [None, False, None, False, None, None, None, {}, [device]]
        rows = router.rows[partition_of(user.encode(), partitions)]
        rows.write("profiles", {user.encode(): b"\x01" + msgspec.msgpack.encode(profile)})
        rows.write("tokens", {hashed: b"\x01" + msgspec.msgpack.encode([user, "d"])})
    reopen(router)
    return router


def reopen(router: Harness) -> None:
    router._virtual = [VirtualPartition(router.machine, rows, p) for p, rows in enumerate(router.rows)]
    router.states = [virtual.state for virtual in router._virtual]


def owners(router: Harness, users: list[str]) -> dict[str, str]:
    known = {user: router.states[partition_of(user.encode(), router.partitions)].known for user in users}
    return {user: device.token for user in users for device in known[user].devices(user)}


@pytest.mark.parametrize("partitions", [1, 2, 8])
@pytest.mark.parametrize("last", range(4))
def test_every_spelling_that_was_stored_ends_with_the_owner_who_was_registered_last(partitions: int, last: int) -> None:
    users = [f"user{n}" for n in range(4)]
    spellings = [CANONICAL, CANONICAL.upper(), f"<{CANONICAL}>", " ".join(["ABababab"] * 8)]
    stored = [(user, token, NOON + (n == last)) for n, (user, token) in enumerate(zip(users, spellings, strict=True))]
    router = upgraded(partitions, stored)
    router.after(60_000)

    assert owners(router, users) == {users[last]: CANONICAL}


def test_channels_that_read_the_same_commands_know_the_same() -> None:
    users = ["user0", "user1", "user2"]
    stored = [("user0", "AB" * 32, NOON), ("user1", "aB" * 32, NOON + 1), ("user2", "Ab" * 32, NOON + 2)]
    router = upgraded(1, stored)
    channel = Knowledge(upgraded(1, stored).rows[0])
    router.after(60_000)
    for message in router.commands:
        channel.apply(read_command(msgspec.json.encode(message)), "p", NOON)

    assert [channel.profile(user) for user in users] == [router.states[0].known.profile(user) for user in users]


def test_profiles_are_walked_through_once_and_in_slices() -> None:
    router = upgraded(1, [(f"user{n:04}", f"{n:064X}", NOON) for n in range(1, 1201)])
    router.at(NOON)
    first = len(router.commands)
    router.after(60_000)

    assert 0 < sum(c["type"] == "device.normalize" for c in router.commands[:first]) <= 500
    assert all(token == token.lower() for token in owners(router, [f"user{n:04}" for n in range(1, 1201)]).values())
    assert router.states[0].schedule.get(NORMALIZED) is not None
    router.forget()
    reopen(router)
    router.after(60_000)
    assert router.commands == []


def test_a_new_partition_has_nothing_to_walk_through() -> None:
    router = Harness()
    assert router.states[0].schedule.scan(b"", None) == []
