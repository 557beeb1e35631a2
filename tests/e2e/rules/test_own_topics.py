"""What only roles may tell each other, said by somebody else on the public topics, does nothing."""

import pytest

from app.domain.addresses import parsed_hash
from tests.e2e.rules.world import World

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_what_only_roles_may_say_does_nothing_on_public_topics(world: World) -> None:
    ann, bob = await world.person("android"), await world.person("android")
    token = parsed_hash("push", ann.tokens["android"]).hex()
    mail = parsed_hash("email", ann.email).hex()
    first = await world.ask(ann, "order.shipped", channels=["push"])
    sent = await world.becomes(first, "push", "sent")

    # A device token and an address by their hashes, a result, a replay.
    await world.command("device.remove", bob, device_id="none", token_hash=token, unless_user=bob.user_id)
    await world.command("device.remove", None, token_hash=token, unless_user=bob.user_id)
    await world.command("suppression.add", None, channel="email", address_hash=mail)
    await world.receipt("delivered", sent, settled="failed", reason="invalid_token", detail={"address_hash": token})
    for replay in ("one", "two"):
        await world.ask(ann, "order.shipped", channels=["push"], notification_id=first, replay_id=replay)

    last = await world.ask(ann, "order.shipped", channels=["push", "email"])
    await world.becomes(last, "push", "sent")
    await world.becomes(last, "email", "sent")
    await world.until(lambda: world.story(first).count("repeated") == 2)
    assert len(await world.shown(first)) == 1
    assert {letter["field"] for letter in world.dead if letter["field"]} >= {"device_id", "address"}
