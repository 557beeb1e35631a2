"""What is judged of a notification as a whole: repeated, cancelled, scheduled, expired, erased; and the balance."""

import uuid
from typing import Any

import pytest

from app.demo.balance import balance
from schemas.instants import parse_ms
from tests.conftest import eventually
from tests.e2e.rules.world import HELLO, LIMIT_S, World, in_s

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_what_is_not_valid_is_a_dead_letter_and_its_neighbour_arrives(world: World) -> None:
    ann = await world.person()
    bad = await world.ask(ann, "order.shipped", priority="at once")
    world.asked.discard((bad, ann.user_id))
    good = await world.ask(ann, "order.shipped", channels=["email"])

    await world.becomes(good, "email", "sent")
    await world.until(lambda: any(letter["field"] == "priority" for letter in world.dead))
    assert world.events_of(bad) == []


async def test_the_same_request_again_is_repeated_and_changes_nothing(world: World) -> None:
    ann = await world.person()
    name = await world.ask(ann, "order.shipped", channels=["email"])
    await world.ask(ann, "order.shipped", channels=["email"], notification_id=name)
    await world.ask(ann, "order.shipped", notification_id=name, content={"title": "Not", "body": "this."})

    await world.until(lambda: world.story(name).count("repeated") == 2)
    await world.becomes(name, "email", "sent")
    assert [event["detail"] and event["detail"].get("differs") for event in world.told(name)] == [None, None, True]
    assert [message["subject"] for message in await world.shown(name)] == ["Hello"]


async def test_what_says_the_same_without_a_key_is_a_duplicate(world: World) -> None:
    ann = await world.person()
    said: dict[str, Any] = {
        "user_id": ann.user_id,
        "event_type": "order.shipped",
        "channels": ["email"],
        "content": HELLO,
    }
    first, second = [(await world.api("POST", "/v1/notifications", key="demo", **said)) for _ in range(2)]

    stopped = await world.becomes(second["notification_id"], None, "suppressed", "duplicate")
    await world.becomes(first["notification_id"], "email", "sent")
    assert stopped["detail"]["of"] == first["notification_id"]


async def test_a_cancel_counts_whether_it_comes_before_the_request_or_while_it_waits(world: World) -> None:
    ann = await world.person("ios")
    await world.prefer(ann, **ann.quiet_now())
    early = str(uuid.uuid4())
    await world.api("DELETE", f"/v1/notifications/{early}", key="demo")
    await world.ask(ann, "order.shipped", notification_id=early, source="demo")
    late = await world.ask(ann, "order.shipped", channels=["push"], source="demo")
    await world.becomes(late, "push", "held", "quiet_hours")
    await world.api("DELETE", f"/v1/notifications/{late}", key="demo")

    await world.becomes(early, None, "cancelled")
    await world.becomes(late, "push", "cancelled")
    assert await world.shown(early) == await world.shown(late) == []


async def test_a_cancel_of_a_campaign_ends_what_waits_of_it_for_everyone_and_nothing_else(world: World) -> None:
    people = [await world.person() for _ in range(3)]
    campaign = f"campaign-{people[0].user_id}"
    due = in_s(15)
    offers = [await world.ask(each, "news.offer", campaign_id=campaign, send_at=due) for each in people]
    other = await world.ask(people[0], "news.offer", campaign_id="another", send_at=due)
    for offer in (*offers, other):
        await world.becomes(offer, None, "scheduled")
    await world.command("notification.cancel", None, campaign_id=campaign)

    for offer in offers:
        await world.becomes(offer, None, "cancelled")
    await world.becomes(other, "email", "sent")


async def test_it_is_scheduled_until_its_time_and_goes_out_then(world: World) -> None:
    ann = await world.person()
    due = in_s(8)
    name = await world.ask(ann, "order.shipped", channels=["email"], send_at=due)

    sent = await world.becomes(name, "email", "sent")
    assert world.story(name) == ["accepted", "scheduled"]
    assert parse_ms(sent["occurred_at"]) >= parse_ms(due)


async def test_what_still_waits_at_its_expiry_is_not_sent(world: World) -> None:
    ann = await world.person("ios")
    await world.prefer(ann, **ann.quiet_now())
    name = await world.ask(ann, "order.shipped", channels=["push"], expires_at=in_s(8))

    await world.becomes(name, "push", "expired")
    assert world.story(name, "push") == [("held", "quiet_hours"), "expired"]
    assert await world.shown(name) == []


async def test_an_erased_users_waits_end_and_nothing_more_is_sent(world: World) -> None:
    ann = await world.person("ios")
    await world.prefer(ann, **ann.quiet_now())
    waiting = await world.ask(ann, "order.shipped", channels=["push", "in_app"])
    await world.becomes(waiting, "push", "held", "quiet_hours")
    await world.becomes(waiting, "in_app", "sent")
    await world.api("DELETE", f"/v1/users/{ann.user_id}")

    await world.becomes(waiting, "push", "suppressed", "erased")
    later = await world.ask(ann, "order.shipped")
    await world.becomes(later, None, "suppressed", "erased")
    await world.inbox_holds(ann)
    assert await world.api("GET", f"/v1/users/{ann.user_id}/profile") == {}


async def test_no_channel_left_and_no_such_template_are_ends_of_the_whole(world: World) -> None:
    ann = await world.person()
    nowhere = await world.ask(ann, "silent.told")
    lacking = await world.ask(ann, "order.shipped", channels=["sms"], template_id="mail_only")
    unknown = await world.ask(ann, "order.shipped", template_id="no_such_template")

    await world.becomes(nowhere, None, "suppressed", "no_channel")
    await world.becomes(lacking, None, "suppressed", "no_channel")
    await world.becomes(unknown, None, "failed", "bad_template")


async def test_after_all_of_it_every_recipient_has_one_end_or_waits(world: World) -> None:
    async def is_kept() -> bool:
        return balance(world.asked, world.events).holds

    await eventually(is_kept, LIMIT_S)
