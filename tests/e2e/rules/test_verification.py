"""A user claims an address, gets a code there, gives it back, and is told things from then on."""

import re
from typing import Any

import pytest

from schemas import topics
from tests.e2e.rules.world import HELLO, Person, World

pytestmark = pytest.mark.asyncio(loop_scope="package")

ADDRESSES = {"sms": ("phone", "+447911123456"), "email": ("email", "claimed@example.com")}


async def verify(world: World, person: Person, **body: Any) -> tuple[int, Any]:
    return await world.call("POST", f"/v1/users/{person.user_id}/profile/verify", as_user=person, **body)


async def message(world: World, notification: str, channel: str) -> dict[str, Any]:
    """As it lies in the sandbox."""
    world.asked.add((notification, (await world.becomes(notification, channel, "sent"))["user_id"]))
    [shown] = await world.shown(notification)
    return shown


@pytest.mark.parametrize("channel", ADDRESSES)
async def test_a_code_verifies_a_claimed_address_and_only_then_is_anything_sent_there(
    world: World, channel: str
) -> None:
    field, address = ADDRESSES[channel]
    nothing: dict[str, Any] = {field: None, f"{field}_verified": None}
    ann = await world.person(**nothing)
    path = f"/v1/users/{ann.user_id}/profile"
    claim: dict[str, Any] = {field: address, f"{field}_verified": True}
    claimed = await world.api("PATCH", path, as_user=ann, **claim)
    assert (claimed[f"{field}_verified"], claimed[f"{field}_claimed"]) == (False, True)
    for event_type in ("order.shipped", "login.code"):
        early = await world.ask(ann, event_type, channels=[channel])
        await world.becomes(early, channel, "suppressed", "unverified")

    status, sent = await verify(world, ann, channel=channel)
    assert status == 202
    shown = await message(world, sent["notification_id"], channel)
    assert shown["address"] == address
    found = re.search(r"\b(\d{6}) is your verification code", shown["body"])
    assert found is not None
    code = found[1]
    assert (await verify(world, ann, channel=channel, code=f"{(int(code) + 1) % 1_000_000:06}"))[0] == 422
    assert await verify(world, ann, channel=channel, code=code) == (204, None)

    profile = await world.api("GET", path, as_user=ann)
    assert (profile[f"{field}_verified"], profile[f"{field}_claimed"]) == (True, False)
    later = await world.ask(ann, "order.shipped", channels=[channel])
    assert HELLO["body"] in (await message(world, later, channel))["body"]

    told = world.events_of(sent["notification_id"])
    assert {event["event_type"] for event in told} == {"tocsin.verify"}
    assert not [letter for letter in world.dead if letter["topic"] == topics.VERIFICATIONS]
    # Not as a part of an id or a time:
    assert not re.search(rf"(?<![0-9a-f-]){code}(?![0-9a-f-])", str(told))
