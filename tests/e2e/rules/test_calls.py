"""Around the call of a provider: the last look, retries, lost answers."""

import time

import pytest

from schemas.instants import parse_ms
from tests.conftest import eventually
from tests.e2e.rules.world import LIMIT_S, World

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_a_failure_of_the_provider_is_retried_and_a_dead_token_forgotten(world: World) -> None:
    ann = await world.person("ios", "android")
    await world.misbehave("apns", "error", ann.tokens["ios"])
    await world.misbehave("fcm", "error", ann.tokens["android"], code="UNREGISTERED")
    name = await world.ask(ann, "order.shipped", channels=["push"])

    sent = await world.becomes(name, "push", "sent")
    await world.becomes(name, "push", "failed", "invalid_token")
    assert sent["attempt"] == 2

    async def is_forgotten() -> bool:
        devices = (await world.api("GET", f"/v1/users/{ann.user_id}/devices"))["devices"]
        return [device["device_id"] for device in devices] == ["ios"]

    await eventually(is_forgotten, LIMIT_S)


async def test_what_became_known_while_a_send_lay_queued_stops_the_call(world: World) -> None:
    ann = await world.person()
    bob = await world.person()
    with world.stopped("sms"):
        opted_out = await world.ask(ann, "order.shipped", channels=["sms"])
        cancelled = await world.ask(bob, "order.shipped", channels=["sms"], source="demo")
        low = await world.ask(bob, "order.shipped", channels=["sms"], priority="low")
        kept = await world.ask(bob, "order.shipped", channels=["sms"])
        queued = [await world.becomes(name, "sms", "queued") for name in (opted_out, cancelled, low, kept)]
        await world.prefer(ann, channels={"sms": False})
        await world.api("DELETE", f"/v1/notifications/{cancelled}", key="demo")
        shed_at = max(parse_ms(event["occurred_at"]) for event in queued) + 5000
        await world.until(lambda: time.time() * 1000 > shed_at)

    await world.becomes(opted_out, "sms", "suppressed", "opted_out")
    await world.becomes(cancelled, "sms", "cancelled")
    await world.becomes(low, "sms", "suppressed", "shed")
    await world.becomes(kept, "sms", "sent")
    assert [len(await world.shown(name)) for name in (opted_out, cancelled, low, kept)] == [0, 0, 0, 1]


async def test_low_sends_are_shed_while_too_many_wait_for_their_provider(world: World) -> None:
    ann, *others = [await world.person("android") for _ in range(5)]
    for other in others:
        await world.misbehave("fcm", "error", other.tokens["android"], code="QUOTA_EXCEEDED", retry_after=20)
    throttled = [await world.ask(other, "order.shipped", channels=["push"]) for other in others]
    for name in throttled:
        await world.becomes(name, "push", "retrying", "QUOTA_EXCEEDED")

    async def is_shed_sooner_than_by_its_age() -> bool:
        low = await world.ask(ann, "order.shipped", channels=["push"], priority="low")
        end = await world.end_of(low, "push")
        queued = world.told(low, "push")[0]
        took_ms = parse_ms(end["occurred_at"]) - parse_ms(queued["occurred_at"])
        return (end["status"], end["reason"]) == ("suppressed", "shed") and took_ms < 5000

    await eventually(is_shed_sooner_than_by_its_age, LIMIT_S)
    normal = await world.ask(ann, "order.shipped", channels=["push"])
    await world.becomes(normal, "push", "sent")


async def test_a_lost_answer_is_asked_after_sent_again_or_given_up(world: World) -> None:
    ann, bob, cat = [await world.person() for _ in range(3)]
    await world.misbehave("twilio", "accept_and_hang", ann.phone)
    await world.misbehave("twilio", "reset", bob.phone)
    await world.misbehave("ses", "accept_and_hang", cat.email)
    found = await world.ask(ann, "order.shipped", channels=["sms"])
    again = await world.ask(bob, "login.code")
    given_up = await world.ask(cat, "order.shipped", channels=["email"])

    await world.becomes(again, "sms", "in_doubt", "connection_lost")
    await world.becomes(again, "sms", "sent")
    await world.becomes(found, "sms", "in_doubt", "timeout")
    await world.becomes(found, "sms", "sent")
    await world.becomes(given_up, "email", "unknown")
    assert [len(await world.shown(name)) for name in (found, again, given_up)] == [1, 1, 1]
    tried = await world.in_sandbox("calls", provider="twilio", address=bob.phone, operation="send")
    assert [call["outcome"] for call in tried] == ["reset", "accepted"]
    assert len({call["send_id"] for call in tried}) == 1
