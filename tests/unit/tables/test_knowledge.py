"""What is known of users, as commands say it."""

from typing import Any

import msgspec
import pytest

from schemas.decode import Invalid, TooLarge
from tables.knowledge import KNOWLEDGE_TABLES, Knowledge
from tables.rows import MemoryRows
from tests.unit.tables.known import NOON, Known


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


# --- wishes ---


def test_preferences_are_patched_as_the_document_they_were_said_in(known: Known) -> None:
    known.say("preferences.set", preferences={"channels": {"sms": False, "email": True}})
    known.say("preferences.patch", preferences={"channels": {"email": None}, "dnd": {"enabled": True}})

    wishes = known.knowledge.wishes("ann")
    assert msgspec.json.decode(wishes.document) == {"channels": {"sms": False}, "dnd": {"enabled": True}}
    assert wishes.preferences.channels == {"sms": False}


def test_a_withdrawal_stands_until_consent_is_granted_again(known: Known) -> None:
    message = []
    for granted in (True, False, True):
        known.say("consent.set", channel="sms", category="marketing", granted=granted, evidence="form 7")
        message.append(known.knowledge.consent("ann", "sms", "marketing"))

    assert message == [True, False, True]
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


def test_a_claimed_number_must_be_valid_and_one_that_is_vouched_for_possible(known: Known) -> None:
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
        message: dict[str, Any] = {
            "channel": "sms",
            "category": f"c{number}",
            "granted": True,
            "evidence": "e" * 15_000,
        }
        if number < 17:
            known.say("consent.set", **message)
        else:
            with pytest.raises(TooLarge) as refusal:
                known.say("consent.set", **message)
            assert refusal.value.field == "evidence"
    known.say("consent.set", channel="sms", category="c17", granted=False, evidence="e" * 15_000)
    assert known.knowledge.consent("ann", "sms", "c17") is False
