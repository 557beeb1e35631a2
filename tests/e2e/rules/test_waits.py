"""Many into one, and one after the other: digests, collapse keys, fallback chains."""

from datetime import UTC, datetime, timedelta

import pytest

from schemas.instants import parse_ms
from tests.e2e.rules.world import HELLO, World, in_s

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_a_digest_makes_one_of_many_by_the_value_of_its_key(world: World) -> None:
    ann = await world.person()
    items = [await world.ask(ann, "comment.made", data={"n": n, "thread": "t1"}, content=HELLO) for n in (1, 2, 3)]
    alone = await world.ask(ann, "comment.made", data={"n": 9, "thread": "t2"}, content=HELLO)

    into = {(await world.becomes(item, "email", "aggregated"))["detail"]["into"] for item in items}
    (digest,) = into
    world.asked.add((digest, ann.user_id))
    await world.becomes(digest, "email", "sent")
    await world.becomes(alone, "email", "sent")
    assert world.story(digest) == ["accepted"]
    assert [message["subject"] for message in await world.shown(digest)] == ["3 things"]
    assert world.story(alone, "email")[:2] == [("held", "digest"), "queued"]


async def test_a_users_own_rhythm_closes_the_digest_of_the_category(world: World) -> None:
    ann = await world.person(zone="Australia/Lord_Howe")
    await world.prefer(ann, digest={"social": {"every": "day", "at": "09:00"}})
    name = await world.ask(ann, "like.made")

    held = await world.becomes(name, "email", "held", "digest")
    due = datetime.fromisoformat(held["detail"]["due"]).astimezone(ann.clock)
    assert (due.hour, due.minute) == (9, 0)
    assert timedelta() < due - datetime.now(UTC) <= timedelta(hours=25)


async def test_being_in_the_app_drops_what_is_gathered(world: World) -> None:
    ann = await world.person()
    name = await world.ask(ann, "photo.liked")
    await world.becomes(name, "email", "held", "digest")
    await world.api("POST", f"/v1/users/{ann.user_id}/activity", as_user=ann, timezone="Europe/London")
    await world.becomes(name, "email", "suppressed", "active_in_app")


async def test_a_newer_one_replaces_what_waits_and_what_the_device_shows(world: World) -> None:
    ann = await world.person("ios")
    shown = await world.ask(ann, "order.moved", channels=["push"], collapse_key="where")
    await world.becomes(shown, "push", "sent")
    await world.prefer(ann, **ann.quiet_now())
    older = await world.ask(ann, "order.moved", channels=["push"], collapse_key="where")
    newer = await world.ask(ann, "order.moved", channels=["push"], collapse_key="where")

    replaced = await world.becomes(older, "push", "suppressed", "replaced")
    await world.prefer(ann, quiet_hours={"enabled": False})
    await world.becomes(newer, "push", "sent")
    assert replaced["detail"]["by"] == newer
    messages = await world.shown(shown) + await world.shown(newer)
    assert len(messages) == 2
    assert len({message["collapse_id"] for message in messages}) == 1


async def test_a_fallback_begins_the_next_step_when_no_word_came(world: World) -> None:
    ann = await world.person("ios")
    name = await world.ask(ann, "payment.failed")

    steps = [await world.becomes(name, channel, "sent") for channel in ("push", "sms", "email")]
    moments = [parse_ms(step["occurred_at"]) for step in steps]
    assert moments == sorted(moments)


async def test_a_fallback_begins_the_next_step_at_once_when_one_fails(world: World) -> None:
    ann = await world.person("ios", phone_verified=False)
    await world.misbehave("apns", "error", ann.tokens["ios"], code="Unregistered")
    name = await world.ask(ann, "payment.failed")

    await world.becomes(name, "push", "failed", "invalid_token")
    await world.becomes(name, "sms", "suppressed", "unverified")
    await world.becomes(name, "email", "sent")


async def test_what_nobody_saw_in_the_inbox_escalates(world: World) -> None:
    ann = await world.person("ios")
    name = await world.ask(ann, "message.came")

    steps = [await world.becomes(name, channel, "sent") for channel in ("in_app", "push", "email")]
    moments = [parse_ms(step["occurred_at"]) for step in steps]
    assert moments == sorted(moments)


async def test_a_fallback_ends_when_word_came(world: World) -> None:
    ann = await world.person("ios")
    path = f"/v1/users/{ann.user_id}"
    pushed, shown = await world.ask(ann, "invoice.late"), await world.ask(ann, "letter.came")
    push = await world.becomes(pushed, "push", "sent")
    await world.api("POST", f"{path}/receipts", as_user=ann, status="opened", send_id=push["send_id"])
    await world.becomes(shown, "in_app", "sent")
    await world.inbox_holds(ann, shown)
    await world.api("POST", f"{path}/inbox/{shown}/seen", as_user=ann)
    await world.becomes(pushed, "push", "opened")
    await world.becomes(shown, "in_app", "seen")

    # Of the same user, and due when the next steps would have begun.
    after = await world.ask(ann, "order.shipped", channels=["in_app"], send_at=in_s(15))
    await world.becomes(after, "in_app", "sent")
    assert {event["channel"] for event in world.events_of(pushed)} == {None, "push"}
    assert {event["channel"] for event in world.events_of(shown)} == {None, "in_app"}
