"""Devices and their tokens: each token has one owner, in one form."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from app.domain.addresses import parsed_hash
from app.domain.bounds import Bounds
from schemas.broadcasts import AddressSuppressed, TokenDead, TokenTaken
from schemas.commands import read_command
from schemas.decode import Invalid
from schemas.instants import rfc3339
from tables.knowledge import Knowledge
from tables.preferences import StoredPreferences
from tables.rows import MemoryRows
from tests.unit.tables.known import KEYS, NOON, Known


def test_a_token_moves_with_the_user_who_added_it_last(known: Known) -> None:
    known.say("device.add", "ann", device_id="d", platform="ios", token="ab" * 32)
    known.say("device.add", "bob", device_id="d", platform="ios", token="ab" * 32)

    assert known.knowledge.devices("ann") == ()
    assert [device.device_id for device in known.knowledge.devices("bob")] == ["d"]


def test_a_token_under_another_device_of_the_user_replaces_the_first(known: Known) -> None:
    known.say("device.add", device_id="old", platform="ios", token="ab" * 32)
    known.say("device.add", device_id="new", platform="ios", token="ab" * 32)

    assert [device.device_id for device in known.knowledge.devices("ann")] == ["new"]


def test_only_a_token_that_is_new_for_the_user_is_claimed(known: Known) -> None:
    first = known.say("device.add", device_id="d", platform="ios", token="ab" * 32)
    again = known.say("device.add", device_id="d", platform="ios", token="ab" * 32)

    assert first.claim is not None
    assert again.claim is None


def test_whoever_keeps_a_token_against_an_older_claim_says_so(known: Known) -> None:
    mine = known.say("device.add", device_id="d", platform="ios", token="ab" * 32).claim
    assert mine is not None
    other = TokenTaken(token_hash=mine.token_hash.hex(), user_id="bob", since=NOON - 1)

    assert known.knowledge.learn(other).claim == mine
    assert known.knowledge.learn(replace(other, since=NOON + 1)).claim is None
    assert known.knowledge.devices("ann") == ()


def test_a_dead_token_goes_unless_it_was_registered_since(known: Known) -> None:
    claim = known.say("device.add", device_id="d", platform="android", token="t").claim
    assert claim is not None
    dead = TokenDead(token_hash=claim.token_hash.hex(), user_id="ann", since=NOON - 1)

    assert not known.knowledge.learn(dead).applied
    assert not known.knowledge.learn(replace(dead, user_id="bob", since=NOON + 1)).applied
    assert known.knowledge.learn(replace(dead, since=NOON)).applied
    assert known.knowledge.devices("ann") == ()


# --- one owner ---


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"platform": "ios", "token": "ab" * 32}, {"platform": "ios", "token": "AB" * 32}),
        ({"platform": "ios", "token": "AB" * 32}, {"platform": "ios", "token": f"<{' '.join(['abababab'] * 8)}>"}),
        ({"platform": "android", "token": "dK3:x"}, {"platform": "android", "token": " dK3:x\n"}),
        (
            {"platform": "web", "subscription": {"endpoint": "https://a.example/1", "keys": KEYS}},
            {"platform": "web", "subscription": {"keys": KEYS, "endpoint": "https://A.example/1", "expirationTime": 1}},
        ),
    ],
)
def test_any_spelling_of_a_token_has_one_owner(known: Known, first: dict[str, Any], second: dict[str, Any]) -> None:
    mine = known.say("device.add", "ann", device_id="a", **first).claim
    theirs = known.say("device.add", "bob", device_id="b", **second).claim

    assert known.knowledge.devices("ann") == ()
    assert [device.device_id for device in known.knowledge.devices("bob")] == ["b"]
    assert mine is not None
    assert theirs is not None
    assert mine.token_hash == theirs.token_hash


def test_tokens_of_googles_that_differ_in_case_are_two(known: Known) -> None:
    known.say("device.add", "ann", device_id="a", platform="android", token="ab" * 32)
    known.say("device.add", "bob", device_id="b", platform="android", token="AB" * 32)

    assert (len(known.knowledge.devices("ann")), len(known.knowledge.devices("bob"))) == (1, 1)


def test_a_token_is_suppressed_however_it_is_written(known: Known) -> None:
    known.say("device.add", "ann", device_id="a", platform="ios", token="ab" * 32)
    (device,) = known.knowledge.devices("ann")
    known.say("suppression.add", None, channel="push", address="AB" * 32)
    listed = known.knowledge.is_suppressed("push", device.token)
    known.say("suppression.remove", None, channel="push", address="<" + "aB" * 32 + ">")

    assert (listed, known.knowledge.is_suppressed("push", device.token)) == (True, False)


def test_of_too_many_devices_those_go_that_were_renewed_longest_ago(known: Known) -> None:
    for number in range(20):
        known.say("device.add", device_id=f"d{number}", platform="android", token=f"t{number}")
    known.say("device.add", device_id="d0", platform="android", token="t0")
    known.say("device.add", device_id="new", platform="android", token="new")

    left = [device.device_id for device in known.knowledge.devices("ann")]
    assert left == [*(f"d{number}" for number in range(2, 20)), "d0", "new"]
    known.say("device.add", "bob", device_id="d", platform="android", token="t1")  # nobody's any more
    assert len(known.knowledge.devices("ann")) == 20


# --- what was stored before tokens had one form ---


def stored(rows: MemoryRows, user_id: str, token: str, registered_ms: int, device_id: str = "d") -> None:
    """A device as the revision before stored it: with its token as it was written."""
    hashed = parsed_hash("push", token)
    device = [device_id, "ios", token, hashed, registered_ms, None, None]
    before = rows.get("profiles", user_id.encode())
    devices = [*(msgspec.msgpack.decode(before[1:])[8] if before else ()), device]
    profile: list[object] = [None, False, None, False, None, None, None, {}, devices]
    rows.write("profiles", {user_id.encode(): b"\x01" + msgspec.msgpack.encode(profile)})
    rows.write("tokens", {hashed: b"\x01" + msgspec.msgpack.encode([user_id, device_id])})


@pytest.mark.parametrize("order", [("ann", "bob"), ("bob", "ann")])
@pytest.mark.parametrize("last", ["ann", "bob"])
def test_of_two_stored_owners_of_one_token_the_one_registered_last_keeps_it(order: tuple[str, str], last: str) -> None:
    known = Known()
    rows = MemoryRows()
    for user, token in (("ann", "ab" * 32), ("bob", "AB" * 32)):
        stored(rows, user, token, NOON if user == last else NOON - 1)
    known.knowledge = Knowledge(rows)
    for user in order:
        known.say("device.normalize", user, device_id="d")

    owners = {user: [d.token for d in known.knowledge.devices(user)] for user in ("ann", "bob")}
    assert owners == {"ann": [], "bob": []} | {last: ["ab" * 32]}
    known.say("device.add", "cy", device_id="new", platform="ios", token="Ab" * 32)
    assert [known.knowledge.devices(user) for user in ("ann", "bob")] == [(), ()]


def test_a_stored_token_that_cannot_be_one_stays_as_it_is() -> None:
    known = Known()
    rows = MemoryRows()
    stored(rows, "ann", "not hex", NOON)
    known.knowledge = Knowledge(rows)

    assert not known.say("device.normalize", "ann", device_id="d").applied
    assert [d.token for d in known.knowledge.devices("ann")] == ["not hex"]


def test_two_spellings_of_one_users_token_become_one_device() -> None:
    known = Known()
    rows = MemoryRows()
    stored(rows, "ann", "AB" * 32, NOON, "old")
    stored(rows, "ann", "<" + "ab" * 32 + ">", NOON + 1, "new")
    known.knowledge = Knowledge(rows)
    claims = [known.say("device.normalize", "ann", device_id=name).claim for name in ("old", "new")]

    assert [d.device_id for d in known.knowledge.devices("ann")] == ["new"]
    assert all(claim is not None and claim.token_hash == parsed_hash("push", "ab" * 32) for claim in claims)


def test_a_stored_token_that_was_suppressed_stays_suppressed() -> None:
    known = Known()
    rows = MemoryRows()
    stored(rows, "ann", "AB" * 32, NOON)
    known.knowledge = Knowledge(rows)
    hashed = parsed_hash("push", "AB" * 32).hex()
    known.knowledge.learn(AddressSuppressed(channel="push", address_hash=hashed, reason="complaint", at=NOON))
    known.say("device.normalize", "ann", device_id="d")

    assert known.knowledge.is_suppressed("push", "ab" * 32)


def test_a_normalized_device_keeps_its_place_among_the_users_devices() -> None:
    known = Known()
    rows = MemoryRows()
    for name, token in (("first", "AB" * 32), ("second", "cd" * 32)):
        stored(rows, "ann", token, NOON, name)
    known.knowledge = Knowledge(rows)
    known.say("device.normalize", "ann", device_id="first")

    assert [device.device_id for device in known.knowledge.devices("ann")] == ["first", "second"]


def test_a_document_that_names_a_day_twice_can_still_be_changed(known: Known) -> None:
    """Earlier revisions let it be so."""
    document = msgspec.json.encode({"quiet_hours": {"start": "22:00", "end": "08:00", "days": ["mon", "mon"]}})
    rows = MemoryRows()
    rows.write("preferences", {b"ann": b"\x01" + msgspec.msgpack.encode(StoredPreferences(document=document))})
    known.knowledge = Knowledge(rows)
    known.say("preferences.patch", preferences={"channels": {"sms": False}})
    kept = msgspec.json.decode(known.knowledge.wishes("ann").document)
    assert kept["quiet_hours"]["days"] == ["mon"]
    assert known.knowledge.preferences("ann").channels == {"sms": False}


@pytest.mark.parametrize(("allowed", "taken"), [((), False), (("127.0.0.1",), True)])
def test_a_subscription_of_an_inner_host_is_taken_only_where_the_settings_allow_it(
    known: Known, allowed: tuple[str, ...], taken: bool
) -> None:
    message = {
        "type": "device.add",
        "id": "x",
        "at": rfc3339(NOON),
        "user_id": "ann",
        "device_id": "d",
        "platform": "web",
    }
    command = read_command(
        msgspec.json.encode({**message, "subscription": {"endpoint": "https://127.0.0.1/x", "keys": KEYS}})
    )
    bounds = Bounds(push_hosts=frozenset(allowed))
    if taken:
        known.knowledge.apply(command, "p:1", NOON, bounds)
        assert len(known.knowledge.devices("ann")) == 1
    else:
        with pytest.raises(Invalid) as refused:
            known.knowledge.apply(command, "p:1", NOON, bounds)
        assert refused.value.field == "subscription.endpoint"
