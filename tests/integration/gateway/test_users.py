"""What users and admins say of a user is read back at once, from whoever owns the user's partition."""

from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from app.config import Settings
from schemas.receipts import read_receipt
from schemas.topics import RECEIPTS
from tests.conftest import eventually
from tests.integration.gateway.conftest import Caller, Reply, watched

pytestmark = pytest.mark.usefixtures("workers")

QUIET = {"enabled": True, "start": "22:00", "end": "07:30"}


async def test_preferences_are_read_as_they_were_just_written(gateway: Caller) -> None:
    ada = gateway.user("ada")
    written = await ada("PUT", "/v1/users/ada/preferences", {"preferences": {"channels": {"sms": False}}})
    patched = await ada("PATCH", "/v1/users/ada/preferences", {"preferences": {"quiet_hours": QUIET}})
    read = await ada("GET", "/v1/users/ada/preferences")

    assert (written.status, patched.status, read.status) == (200, 200, 200)
    assert written.document["channels"] == patched.document["channels"] == {"sms": False}
    assert read.document["quiet_hours"]["start"] == "22:00"


async def test_preferences_are_taken_with_or_without_their_name(gateway: Caller) -> None:
    document = (await gateway.user("bare")("PUT", "/v1/users/bare/preferences", {"channels": {"push": False}})).document

    assert document["channels"] == {"push": False}


async def test_who_said_nothing_has_an_empty_document(gateway: Caller) -> None:
    reply = await gateway.user("silent")("GET", "/v1/users/silent/preferences")

    assert (reply.status, reply.document) == (200, {})


@pytest.mark.parametrize(
    ("preferences", "status", "field"),
    [
        ({"channels": {"pigeon": False}}, 400, "channels.pigeon"),
        ({"channels": {"sms": "no"}}, 400, "channels.sms"),
        ({"quiet_hours": {**QUIET, "end": "22:00"}}, 422, "quiet_hours.end"),
        ({"digest": {"security": {"every": "day", "at": "09:00"}}}, 422, "digest.security"),
    ],
)
async def test_preferences_that_can_not_be_name_their_field(
    gateway: Caller, preferences: dict[str, Any], status: int, field: str
) -> None:
    reply = await gateway.user("ada")("PUT", "/v1/users/ada/preferences", {"preferences": preferences})

    assert (reply.status, reply.document["field"]) == (status, field)


@pytest.mark.parametrize("more", [{}, {"claimed": False}, {"claimed": None}, {"claimed": "no"}])
async def test_an_address_that_a_user_sets_is_claimed_and_unverified_whatever_they_say(
    gateway: Caller, more: dict[str, Any]
) -> None:
    said = {"email": "eve@example.com", "email_verified": True, "phone": "+442071838750", "phone_verified": True}
    user = f"eve-{len(more)}-{more.get('claimed')}"
    by_user = await gateway.user(user)("PATCH", f"/v1/users/{user}/profile", {**said, **more})
    by_admin = await gateway.key("ops")("PATCH", f"/v1/users/{user}/profile", said)

    shown = ("email_verified", "phone_verified", "email_claimed", "phone_claimed")
    assert [by_user.document[name] for name in shown] == [False, False, True, True]
    assert [by_admin.document[name] for name in shown] == [True, True, False, False]


async def test_a_number_that_a_user_claims_must_be_valid(gateway: Caller) -> None:
    said = {"phone": "+15550001234"}
    by_user = await gateway.user("eva")("PATCH", "/v1/users/eva/profile", said)
    by_admin = await gateway.key("ops")("PATCH", "/v1/users/eva/profile", said)

    assert (by_user.status, by_user.document["field"]) == (422, "phone")
    assert (by_admin.status, by_admin.document["phone"]) == (200, "+15550001234")


async def test_a_null_removes_from_a_profile_and_the_rest_stays(gateway: Caller) -> None:
    ops = gateway.key("ops")
    await ops("PATCH", "/v1/users/nora/profile", {"name": "Nora", "timezone": "Europe/Oslo"})
    reply = await ops("PATCH", "/v1/users/nora/profile", {"name": None})

    assert (reply.document["name"], reply.document["timezone"]) == (None, "Europe/Oslo")


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"timezone": "Mars/Base"}, "timezone"), ({"phone": "12"}, "phone"), ({"email": "x"}, "email")],
)
async def test_a_profile_that_can_not_be_names_its_field(gateway: Caller, fields: dict[str, str], field: str) -> None:
    reply = await gateway.user("ada")("PATCH", "/v1/users/ada/profile", fields)

    assert (reply.status, reply.document["field"]) == (422, field)


async def test_devices_are_added_listed_and_removed(gateway: Caller) -> None:
    dora = gateway.user("dora")
    device = {"device_id": "phone", "platform": "ios", "token": "ab" * 32}
    added = await dora("POST", "/v1/users/dora/devices", device)
    listed = await dora("GET", "/v1/users/dora/devices")
    removed = await dora("DELETE", "/v1/users/dora/devices/phone")
    again = await dora("DELETE", "/v1/users/dora/devices/phone")
    left = await dora("GET", "/v1/users/dora/devices")

    assert (added.status, added.document["device_id"]) == (201, "phone")
    assert [device["device_id"] for device in listed.document["devices"]] == ["phone"]
    assert (removed.status, again.status, left.document) == (204, 404, {"devices": []})


async def test_a_device_needs_its_token(gateway: Caller) -> None:
    reply = await gateway.user("dora")("POST", "/v1/users/dora/devices", {"device_id": "phone", "platform": "ios"})

    assert (reply.status, reply.document["field"]) == (422, "token")


async def test_consent_is_granted_with_evidence_only(gateway: Caller) -> None:
    said = {"channel": "sms", "category": "marketing", "granted": True}
    bare = await gateway.user("ada")("PUT", "/v1/users/ada/consents", said)
    proven = await gateway.user("ada")("PUT", "/v1/users/ada/consents", {**said, "evidence": {"form": "signup"}})
    read = await gateway.key("ops")("GET", "/v1/users/ada/consents")
    other = await gateway.user("eve")("GET", "/v1/users/ada/consents")
    long = await gateway.user("ada")("PUT", "/v1/users/ada/consents", {**said, "evidence": "x" * 20_000})

    assert (bare.status, bare.document["field"]) == (422, "evidence")
    assert (proven.status, proven.document["granted"]) == (200, True)
    [consent] = read.document["consents"]
    assert (consent["category"], consent["evidence"]) == ("marketing", {"form": "signup"})
    assert other.status == 403
    assert (long.status, long.document["field"]) == (413, "evidence")


async def test_what_the_app_saw_is_a_receipt_of_this_user(gateway: Caller, settings: Settings) -> None:
    request = {"user_id": "ada", "event_type": "a.b", "channels": ["in_app"], "content": {"title": "t", "body": "b"}}
    sent = await gateway.key("shop")("POST", "/v1/notifications", request)
    said = {"notification_id": sent.document["notification_id"], "channel": "in_app", "status": "opened"}
    ada = partial(gateway.user("ada"), "POST", "/v1/users/ada/receipts")
    replies: list[Reply] = []

    async def is_taken() -> bool:
        replies.append(await ada(said))
        return replies[-1].status == 202

    async with watched(settings, RECEIPTS) as records:
        await eventually(is_taken, 60)
        unknown = await ada({**said, "notification_id": "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e"})
        [record] = await records(1)

    receipt = read_receipt(record.value)
    assert {reply.status for reply in replies[:-1]} <= {404}
    assert (unknown.status, unknown.document["field"]) == (404, "notification_id")
    assert (record.key, receipt.user_id, receipt.status) == (b"ada", "ada", "opened")


@pytest.mark.parametrize(
    ("receipt", "status", "field"),
    [
        ({"status": "bounced", "notification_id": "n"}, 422, "status"),
        ({"status": "sung", "notification_id": "n"}, 400, "status"),
        ({"status": "opened"}, 422, "send_id"),
        ({"status": "opened", "send_id": "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3cffff"}, 404, "send_id"),
    ],
)
async def test_receipts_that_an_app_can_not_give(
    gateway: Caller, receipt: dict[str, str], status: int, field: str
) -> None:
    reply = await gateway.user("ada")("POST", "/v1/users/ada/receipts", receipt)

    assert (reply.status, reply.document["field"]) == (status, field)


async def test_activity_needs_no_body(gateway: Caller) -> None:
    assert (await gateway.user("ada")("POST", "/v1/users/ada/activity")).status == 202


async def test_an_erased_user_is_read_as_unknown(gateway: Caller) -> None:
    ops = gateway.key("ops")
    await ops("PATCH", "/v1/users/gone/profile", {"name": "Gone"})
    reply = await ops("DELETE", "/v1/users/gone")
    profile = await ops("PATCH", "/v1/users/gone/profile", {"locale": "en"})

    assert reply.status == 202
    assert reply.document["erasure_id"]
    assert profile.document["name"] is None
    certificate = await ops("GET", f"/v1/erasures/{reply.document['erasure_id']}")
    assert (certificate.status, certificate.document["erasure_id"]) == (200, reply.document["erasure_id"])
    assert (await ops("GET", "/v1/erasures/00000000-0000-4000-8000-000000000000")).status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/users/bob/preferences"),
        ("PUT", "/v1/users/bob/preferences"),
        ("PATCH", "/v1/users/bob/profile"),
        ("POST", "/v1/users/bob/devices"),
        ("POST", "/v1/users/bob/receipts"),
        ("GET", "/v1/users/bob/inbox"),
        ("DELETE", "/v1/users/bob"),
    ],
)
async def test_what_is_anothers_is_403(gateway: Caller, method: str, path: str) -> None:
    assert (await gateway.user("ada")(method, path, {})).status == 403
    assert (await gateway.key("shop")(method, path, {})).status == 403
    assert (await gateway(method, path, {})).status == 401


@pytest.mark.parametrize("user_id", ["a/b", "ü", "a b", "a+b", "50%", "x" * 128, "🦉", "?#&"])
async def test_any_user_id_has_its_place_in_the_path(gateway: Caller, user_id: str) -> None:
    path = f"/v1/users/{quote(user_id, safe='')}/profile"
    await gateway.user(user_id)("PATCH", path, {"name": user_id})

    assert (await gateway.user(user_id)("GET", path)).document["name"] == user_id


@pytest.mark.parametrize("segment", ["x" * 129, "a%0Ab"])
async def test_what_is_no_user_id_is_400(gateway: Caller, segment: str) -> None:
    reply = await gateway.key("ops")("GET", f"/v1/users/{segment}/profile")

    assert (reply.status, reply.document["field"]) == (400, "id")
