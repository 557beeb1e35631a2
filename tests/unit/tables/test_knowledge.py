"""What is known of users, as commands say it."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from app.domain.addresses import parsed_hash
from app.domain.bounds import Bounds
from schemas.broadcasts import AddressSuppressed, TokenDead, TokenTaken
from schemas.commands import read_command
from schemas.decode import Invalid, TooLarge
from schemas.instants import parse_ms, rfc3339
from tables.knowledge import KNOWLEDGE_TABLES, Change, Knowledge
from tables.preferences import Wishes
from tables.rows import MemoryRows

NOON = parse_ms("2026-03-04T12:00:00Z")
#: Of a web push subscription.
KEYS = {"p256dh": "B" + "A" * 86, "auth": "A" * 22}


class Known:
    """Knowledge with commands numbered as they come."""

    def __init__(self) -> None:
        self.knowledge = Knowledge(MemoryRows())
        self.now = NOON
        self._count = 0

    def say(self, kind: str, user_id: str | None = "ann", **fields: Any) -> Change:
        self._count += 1
        said = {"type": kind, "id": f"c{self._count}", "at": rfc3339(self.now), **fields}
        if user_id is not None:
            said["user_id"] = user_id
        return self.knowledge.apply(read_command(msgspec.json.encode(said)), f"p:{self._count}", self.now)


@pytest.fixture
def known() -> Known:
    return Known()


def test_the_names_of_its_tables_are_those_that_it_keeps(known: Known) -> None:
    assert tuple(table.spec.name for table in known.knowledge.tables()) == KNOWLEDGE_TABLES


# --- profile ---


def test_a_profile_is_merged_and_null_removes(known: Known) -> None:
    known.say("profile.set", email="Ann@EXAMPLE.com", name="Ann", attributes={"tier": "gold", "pets": {"cat": 1}})
    known.say("profile.set", name=None, attributes={"tier": None, "pets": {"dog": 2}})

    profile = known.knowledge.profile("ann")
    assert profile is not None
    assert (profile.email, profile.name) == ("Ann@example.com", None)
    assert profile.attributes == {"pets": {"cat": 1, "dog": 2}}


@pytest.mark.parametrize(
    ("second", "verified"),
    [
        ({"email": "new@example.com"}, False),
        ({"email": "new@example.com", "email_verified": True}, True),
        ({"email": "ann@example.com"}, True),
        ({"name": "Ann"}, True),
        ({"email_verified": False}, False),
        ({"email": None}, False),
    ],
)
def test_a_new_address_is_unverified_unless_the_same_command_says_otherwise(
    known: Known, second: dict[str, Any], verified: bool
) -> None:
    known.say("profile.set", email="ann@example.com", email_verified=True)
    known.say("profile.set", **second)

    profile = known.knowledge.profile("ann")
    assert profile is not None
    assert profile.email_verified is verified


@pytest.mark.parametrize(
    ("kind", "fields", "field"),
    [
        ("profile.set", {"phone": "12"}, "phone"),
        ("profile.set", {"email": "no at"}, "email"),
        ("profile.set", {"timezone": "Mars/Olympus"}, "timezone"),
        ("profile.set", {"locale": "!"}, "locale"),
        ("profile.set", {"attributes": {"long": "x" * 20_000}}, "attributes"),
        ("activity.seen", {"timezone": "Mars/Olympus"}, "timezone"),
        ("device.add", {"device_id": "d", "platform": "ios", "token": "ab" * 32, "timezone": "x"}, "timezone"),
        ("device.add", {"device_id": "d", "platform": "web", "subscription": {}}, "subscription.endpoint"),
        (
            "device.add",
            {"device_id": "d", "platform": "web", "subscription": {"endpoint": "https://a", "keys": {"auth": "a"}}},
            "subscription.keys.p256dh",
        ),
        ("suppression.add", {"channel": "sms", "address": "12"}, "address"),
        ("preferences.set", {"preferences": {"channels": {"fax": True}}}, "channels.fax"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(
    known: Known, kind: str, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        known.say(kind, **fields)

    assert (refused.value.field or "").endswith(field)


def test_the_time_zone_is_what_was_said_last(known: Known) -> None:
    zones = []
    for kind, fields in (
        ("profile.set", {"timezone": "Europe/Paris"}),
        ("device.add", {"device_id": "d", "platform": "ios", "token": "ab" * 32, "timezone": "Asia/Tokyo"}),
        ("activity.seen", {"timezone": "America/Lima"}),
        ("activity.seen", {}),
    ):
        assert known.say(kind, **fields).clock is ("timezone" in fields)
        profile = known.knowledge.profile("ann")
        zones.append(profile.timezone if profile is not None else None)

    assert zones == ["Europe/Paris", "Asia/Tokyo", "America/Lima", "America/Lima"]


def test_a_command_that_is_read_again_changes_nothing(known: Known) -> None:
    first = known.say("profile.set", id="one", email="first@example.com")
    known.say("profile.set", id="two", email="second@example.com")
    again = known.say("profile.set", id="one", email="first@example.com")

    profile = known.knowledge.profile("ann")
    assert (first.applied, again.applied) == (True, False)
    assert profile is not None
    assert profile.email == "second@example.com"


# --- devices ---


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


# --- the suppression list ---

HASH = parsed_hash("email", "ann@example.com").hex()
ON = "suppression.add"
OFF = "suppression.remove"


def bounced(at: int) -> AddressSuppressed:
    return AddressSuppressed(channel="email", address_hash=HASH, reason="hard_bounce", at=at)


@pytest.mark.parametrize("broadcast_first", [True, False])
@pytest.mark.parametrize(("bounced_at", "listed"), [(NOON - 5, False), (NOON, False), (NOON + 5, True)])
def test_of_a_bounce_and_a_removal_the_later_holds_whichever_is_read_first(
    known: Known, bounced_at: int, listed: bool, broadcast_first: bool
) -> None:
    """They lie on two topics. (At the same moment the removal holds: an operator says it again if need be.)"""
    if broadcast_first:
        known.knowledge.learn(bounced(bounced_at))
    known.say(OFF, None, channel="email", address="ann@example.com")
    if not broadcast_first:
        known.knowledge.learn(bounced(bounced_at))

    assert known.knowledge.is_suppressed("email", "ann@example.com") is listed


def test_commands_about_an_address_hold_in_the_order_of_the_log(known: Known) -> None:
    said = {"channel": "email", "address": "ann@example.com"}
    for kind, listed in ((ON, True), (OFF, False), (ON, True), (OFF, False)):
        known.now -= 1000  # another producer's clock
        known.say(kind, None, **said)
        assert known.knowledge.is_suppressed("email", "ann@example.com") is listed


def test_a_row_of_the_revision_before_is_read(known: Known) -> None:
    rows = MemoryRows()
    key = b"email\0" + bytes.fromhex(HASH)
    rows.write("suppressions", {key: b"\x01" + msgspec.msgpack.encode(["asked", NOON])})
    knowledge = Knowledge(rows)

    assert knowledge.is_suppressed("email", "ann@example.com")


# --- wishes ---


def test_preferences_are_patched_as_the_document_they_were_said_in(known: Known) -> None:
    known.say("preferences.set", preferences={"channels": {"sms": False, "email": True}})
    known.say("preferences.patch", preferences={"channels": {"email": None}, "dnd": {"enabled": True}})

    wishes = known.knowledge.wishes("ann")
    assert msgspec.json.decode(wishes.document) == {"channels": {"sms": False}, "dnd": {"enabled": True}}
    assert wishes.preferences.channels == {"sms": False}


def test_a_withdrawal_stands_until_consent_is_granted_again(known: Known) -> None:
    said = []
    for granted in (True, False, True):
        known.say("consent.set", channel="sms", category="marketing", granted=granted, evidence="form 7")
        said.append(known.knowledge.consent("ann", "sms", "marketing"))

    assert said == [True, False, True]
    assert known.knowledge.consent("ann", "sms", "orders") is None


# --- suppression, cancelling, erasing ---


def test_an_address_is_suppressed_however_it_is_written(known: Known) -> None:
    known.say("suppression.add", None, channel="email", address="Bob@Example.COM")

    assert known.knowledge.is_suppressed("email", "bob@example.com")
    assert not known.knowledge.is_suppressed("email", "ann@example.com")


def test_a_cancel_is_remembered_for_7_days(known: Known) -> None:
    known.say("notification.cancel", campaign_id="c", source="shop")
    day = 24 * 3_600_000

    def covered(source: str, recorded_ms: int) -> bool:
        return known.knowledge.cancelled("ann", "n", "c", source, recorded_ms)

    assert covered("shop", NOON + 7 * day - 1)
    assert not covered("shop", NOON + 7 * day)
    assert not covered("other", NOON)
    assert not known.knowledge.cancelled("bob", "n", "c", "shop", NOON)


def test_an_erased_user_is_skipped_until_a_profile_begins_a_new_one(known: Known) -> None:
    known.say("profile.set", email="ann@example.com")
    assert known.say("user.erase").erased
    skipped = known.say("preferences.set", preferences={"channels": {"email": False}})
    gone = known.knowledge.erased("ann"), known.knowledge.profile("ann")
    known.say("profile.set", name="Ann")

    assert (skipped.applied, gone) == (False, (True, None))
    assert not known.knowledge.erased("ann")
    assert known.knowledge.preferences("ann").channels == {}


def test_erasing_frees_the_users_tokens(known: Known) -> None:
    known.say("device.add", device_id="d", platform="ios", token="ab" * 32)
    known.say("user.erase")

    assert known.say("device.add", "bob", device_id="d", platform="ios", token="ab" * 32).applied
    assert len(known.knowledge.devices("bob")) == 1


# --- what a user claims ---


@pytest.mark.parametrize(
    ("then", "claimed", "verified"),
    [
        ({}, True, False),
        ({"name": "Ann"}, True, False),
        ({"claimed": True, "name": "Ann"}, True, False),
        ({"email": "ann@example.com"}, False, False),  # a service says the same
        ({"email_verified": True}, False, True),
        ({"email": "new@example.com"}, False, False),
        ({"email": "new@example.com", "claimed": True}, True, False),
        ({"email": None}, False, False),
    ],
)
def test_a_claimed_address_stays_claimed_until_a_service_says_it_or_it_is_verified(
    known: Known, then: dict[str, Any], claimed: bool, verified: bool
) -> None:
    known.say("profile.set", email="ann@example.com", claimed=True)
    known.say("profile.set", **then)

    profile = known.knowledge.profile("ann")
    assert profile is not None
    assert (profile.email_claimed, profile.email_verified, profile.phone_claimed) == (claimed, verified, False)


def test_an_address_that_a_service_vouched_for_stays_so_when_its_user_says_the_same(known: Known) -> None:
    known.say("profile.set", email="ann@example.com", phone="+442071838750", phone_verified=True)
    known.say("profile.set", email="ann@EXAMPLE.com", phone="+44 20 7183 8750", claimed=True)

    profile = known.knowledge.profile("ann")
    assert profile is not None
    assert (profile.email_claimed, profile.phone_claimed, profile.phone_verified) == (False, False, True)


def test_a_number_must_be_valid_where_it_is_claimed_and_possible_where_it_is_vouched_for(known: Known) -> None:
    known.say("profile.set", phone="+15550001234")
    with pytest.raises(Invalid) as refused:
        known.say("profile.set", phone="+15550001235", claimed=True)

    assert refused.value.field == "phone"
    assert known.knowledge.profile("ann").phone == "+15550001234"  # type: ignore[union-attr]


def test_rows_from_before_claims_have_none() -> None:
    before = msgspec.msgpack.encode(
        ["ann@example.com", True, "+442071838750", False, None, None, "Ann", {"tier": "gold"}, []]
    )
    rows = MemoryRows()
    rows.write("profiles", {b"ann": b"\x01" + before})

    profile = Knowledge(rows).profile("ann")
    assert profile is not None
    assert (profile.email, profile.email_claimed, profile.phone_claimed) == ("ann@example.com", False, False)


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


def test_what_was_suppressed_as_idna_2003_wrote_it_stays_suppressed_until_it_is_removed(known: Known) -> None:
    known.say("suppression.add", None, channel="email", address="anna@strasse.example")
    before = known.knowledge.is_suppressed("email", "anna@xn--strae-oqa.example")
    known.say("suppression.remove", None, channel="email", address="anna@straße.example")

    assert (before, known.knowledge.is_suppressed("email", "anna@xn--strae-oqa.example")) == (True, False)


def test_suppressing_an_international_domain_leaves_the_other_spelling_alone(known: Known) -> None:
    known.say("suppression.add", None, channel="email", address="anna@straße.example")

    assert known.knowledge.is_suppressed("email", "anna@xn--strae-oqa.example")
    assert not known.knowledge.is_suppressed("email", "anna@strasse.example")


def test_of_too_many_devices_those_go_that_were_renewed_longest_ago(known: Known) -> None:
    for number in range(20):
        known.say("device.add", device_id=f"d{number}", platform="android", token=f"t{number}")
    known.say("device.add", device_id="d0", platform="android", token="t0")
    known.say("device.add", device_id="new", platform="android", token="new")

    left = [device.device_id for device in known.knowledge.devices("ann")]
    assert left == [*(f"d{number}" for number in range(2, 20)), "d0", "new"]
    known.say("device.add", "bob", device_id="d", platform="android", token="t1")  # nobody's any more
    assert len(known.knowledge.devices("ann")) == 20


def test_a_document_and_attributes_are_bounded_after_a_merge_too(known: Known) -> None:
    half = {f"n{number}": "x" * 100 for number in range(90)}
    known.say("profile.set", attributes=half)
    with pytest.raises(TooLarge) as refusal:
        known.say("profile.set", attributes={f"m{number}": "x" * 100 for number in range(90)})
    assert refusal.value.field == "attributes"

    def switches(kind: str) -> dict[str, Any]:
        return {"event_types": {f"{kind * 90}{number}": {"push": False} for number in range(200)}}

    known.say("preferences.patch", preferences=switches("a"))
    with pytest.raises(TooLarge) as refused:
        known.say("preferences.patch", preferences=switches("b"))
    assert refused.value.field == "preferences"


def test_a_withdrawal_is_taken_however_much_evidence_there_is(known: Known) -> None:
    for number in range(18):
        said = {"channel": "sms", "category": f"c{number}", "granted": True, "evidence": "e" * 15_000}
        if number < 17:
            known.say("consent.set", **said)
        else:
            with pytest.raises(TooLarge) as refusal:
                known.say("consent.set", **said)
            assert refusal.value.field == "evidence"
    known.say("consent.set", channel="sms", category="c17", granted=False, evidence="e" * 15_000)
    assert known.knowledge.consent("ann", "sms", "c17") is False


# --- what was stored before tokens had one form ---


def stored(rows: MemoryRows, user_id: str, token: str, registered_ms: int, device_id: str = "d") -> None:
    """A device as the revision before stored it: with its token as it was written."""
    hashed = parsed_hash("push", token)
    device = [device_id, "ios", token, hashed, registered_ms, None, None]
    before = rows.get("profiles", user_id.encode())
    devices = [*(msgspec.msgpack.decode(before[1:])[8] if before else ()), device]
    profile = [None, False, None, False, None, None, None, {}, devices]
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
    rows.write("preferences", {b"ann": b"\x01" + msgspec.msgpack.encode(Wishes(document=document))})
    known.knowledge = Knowledge(rows)
    known.say("preferences.patch", preferences={"channels": {"sms": False}})
    kept = msgspec.json.decode(known.knowledge.wishes("ann").document)
    assert kept["quiet_hours"]["days"] == ["mon"]
    assert known.knowledge.preferences("ann").channels == {"sms": False}


@pytest.mark.parametrize(("allowed", "taken"), [((), False), (("127.0.0.1",), True)])
def test_a_subscription_of_an_inner_host_is_taken_only_where_the_settings_allow_it(
    known: Known, allowed: tuple[str, ...], taken: bool
) -> None:
    said = {"type": "device.add", "id": "x", "at": rfc3339(NOON), "user_id": "ann", "device_id": "d", "platform": "web"}
    command = read_command(
        msgspec.json.encode({**said, "subscription": {"endpoint": "https://127.0.0.1/x", "keys": KEYS}})
    )
    bounds = Bounds(push_hosts=frozenset(allowed))
    if taken:
        known.knowledge.apply(command, "p:1", NOON, bounds)
        assert len(known.knowledge.devices("ann")) == 1
    else:
        with pytest.raises(Invalid) as refused:
            known.knowledge.apply(command, "p:1", NOON, bounds)
        assert refused.value.field == "subscription.endpoint"
