"""What is judged of each channel: wishes, consent, addresses, caps, quiet hours."""

import time
from typing import Any

import pytest

from schemas.instants import parse_ms
from tests.conftest import eventually
from tests.e2e.rules.world import HELLO, LIMIT_S, World

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_do_not_disturb_stops_all_but_the_inbox_and_what_is_critical(world: World) -> None:
    ann = await world.person("ios")
    await world.prefer(ann, dnd={"enabled": True, "until": None}, channels={"sms": False}, **ann.quiet_now())
    told = await world.ask(ann, "order.shipped")
    code = await world.ask(ann, "login.code")

    await world.becomes(told, "push", "suppressed", "dnd")
    await world.becomes(told, "email", "suppressed", "dnd")
    await world.becomes(told, "in_app", "sent")
    sent = await world.becomes(code, "sms", "sent")
    await world.inbox_holds(ann, told)
    assert sent["priority"] == "critical"


async def test_critical_is_for_the_sources_that_the_policy_names(world: World) -> None:
    ann = await world.person()
    await world.prefer(ann, dnd={"enabled": True, "until": None})
    named = await world.ask(ann, "order.shipped", channels=["email"], priority="critical", source="auth")
    other = await world.ask(ann, "order.shipped", channels=["email"], priority="critical", source="shop")

    await world.becomes(named, "email", "sent")
    stopped = await world.becomes(other, "email", "suppressed", "dnd")
    assert stopped["priority"] == "high"


async def test_the_most_specific_opt_out_decides(world: World) -> None:
    ann = await world.person("ios")
    wishes: dict[str, Any] = {
        "channels": {"email": False},
        "categories": {"orders": {"email": True, "push": False}},
        "event_types": {"order.lost": {"email": False}},
    }
    await world.api("PUT", f"/v1/users/{ann.user_id}/preferences", as_user=ann, **wishes)
    shipped = await world.ask(ann, "order.shipped", channels=["push", "email"])
    lost = await world.ask(ann, "order.lost", channels=["email"])
    news = await world.ask(ann, "news.weekly")

    await world.becomes(shipped, "push", "suppressed", "opted_out")
    await world.becomes(shipped, "email", "sent")
    await world.becomes(lost, "email", "suppressed", "opted_out")
    await world.becomes(news, "email", "suppressed", "opted_out")


async def test_a_channel_under_consent_needs_it_and_a_withdrawal_ends_it(world: World) -> None:
    ann = await world.person()
    path, consent = f"/v1/users/{ann.user_id}/consents", {"channel": "sms", "category": "marketing"}
    before = await world.ask(ann, "news.weekly", channels=["sms"])
    await world.becomes(before, "sms", "suppressed", "no_consent")
    await world.api("PUT", path, as_user=ann, granted=True, evidence={"form": "newsletter"}, **consent)
    given = await world.ask(ann, "news.weekly", channels=["sms"])
    await world.becomes(given, "sms", "sent")
    await world.api("PUT", path, as_user=ann, granted=False, **consent)
    withdrawn = await world.ask(ann, "news.weekly", channels=["sms"])
    await world.becomes(withdrawn, "sms", "suppressed", "no_consent")


async def test_an_address_on_the_suppression_list_gets_nothing_whoever_has_it(world: World) -> None:
    ann = await world.person()
    bob = await world.person(email=ann.email)
    await world.command("suppression.add", None, channel="email", address=ann.email.upper(), reason="complaint")
    names = [await world.ask(each, "order.shipped", channels=["email"]) for each in (ann, bob)]
    for name in names:
        await world.becomes(name, "email", "suppressed", "suppression_list")
    await world.command("suppression.remove", None, channel="email", address=ann.email)
    again = await world.ask(bob, "order.shipped", channels=["email"])
    await world.becomes(again, "email", "sent")


async def test_a_hard_bounce_puts_the_address_on_the_suppression_list_for_everyone(world: World) -> None:
    ann = await world.person()
    bob = await world.person(email=ann.email)
    name = await world.ask(ann, "order.shipped", channels=["email"])
    await world.receipt("bounced", await world.becomes(name, "email", "sent"), reason="hard")
    await world.becomes(name, "email", "bounced", "hard")

    listed = ("suppressed", "suppression_list")

    async def bob_gets_nothing() -> bool:
        tried = await world.ask(bob, "order.shipped", channels=["email"])
        await world.until(lambda: world.story(tried, "email")[-1:] in (["sent"], [listed]))
        return world.story(tried, "email") == [listed]

    await eventually(bob_gets_nothing, LIMIT_S)


async def test_unsubscribing_opts_out_of_the_category_on_the_channel(world: World) -> None:
    ann = await world.person()
    name = await world.ask(ann, "news.weekly")
    await world.receipt("unsubscribed", await world.becomes(name, "email", "sent"))
    await world.becomes(name, "email", "unsubscribed")

    async def nothing_more() -> bool:
        document = await world.api("GET", f"/v1/users/{ann.user_id}/preferences")
        return bool(document.get("categories", {}).get("marketing") == {"email": False})

    await eventually(nothing_more, LIMIT_S)
    await world.becomes(await world.ask(ann, "news.daily"), "email", "suppressed", "opted_out")
    await world.becomes(await world.ask(ann, "order.shipped", channels=["email"]), "email", "sent")


async def test_where_nobody_can_be_reached_nothing_is_sent(world: World) -> None:
    ann = await world.person("ios", "web", phone_verified=False)
    name = await world.ask(ann, "order.shipped", channels=["push", "sms"])
    bob = await world.person("web", email=None)
    none = await world.ask(bob, "order.shipped", channels=["push", "email"])

    await world.becomes(name, "push", "sent")
    await world.becomes(name, "push", "failed", "no_provider")
    await world.becomes(name, "sms", "suppressed", "unverified")
    await world.becomes(none, "push", "failed", "no_provider")
    await world.becomes(none, "email", "suppressed", "no_address")


async def test_browsers_on_known_push_services_get_what_they_can_decrypt(world: World) -> None:
    ann = await world.person("web", email=None)
    subscription = await world.subscription()
    await world.command("device.add", ann, device_id="laptop", platform="web", subscription=subscription)
    name = await world.ask(ann, "order.shipped", channels=["push"])

    sent = await world.becomes(name, "push", "sent")
    await world.becomes(name, "push", "failed", "no_provider")  # the other one's push service isn't known
    [shown] = await world.shown(name)
    assert (sent["provider"], shown["provider"], shown["send_id"]) == ("webpush", "webpush", sent["send_id"])
    assert (shown["body"], shown["address"]) == (HELLO["body"], subscription["endpoint"])


async def test_a_cap_suppresses_what_is_over_it_and_says_by_whom_it_is_used(world: World) -> None:
    ann = await world.person()
    first = await world.ask(ann, "once.told")
    over = await world.ask(ann, "once.told")

    await world.becomes(first, "email", "sent")
    stopped = await world.becomes(over, "email", "suppressed", "rate_cap")
    assert (stopped["detail"]["cap"], stopped["detail"]["used_by"]) == ("one-ever", [first])

    async def why_is_known() -> bool:
        return "cap one-ever, 1 in " in await world.tocsin("why", over, "--user", ann.user_id)

    await eventually(why_is_known, LIMIT_S)


async def test_a_cap_defers_what_is_over_it_until_a_place_is_free_in_order(world: World) -> None:
    ann = await world.person()
    names = [await world.ask(ann, "patient.told") for _ in range(3)]

    moments = [parse_ms((await world.becomes(name, "email", "queued"))["occurred_at"]) for name in names]
    assert moments[1] - moments[0] >= 5000
    assert moments[2] - moments[1] >= 5000
    assert ("held", "rate_cap") in world.story(names[1], "email")


async def test_a_cap_gathers_what_is_over_it_into_a_digest(world: World) -> None:
    ann = await world.person()
    first, *over = [await world.ask(ann, "gathered.told", content=None, template_id="mail_only") for _ in range(3)]

    await world.becomes(first, "email", "sent")
    into = {(await world.becomes(name, "email", "aggregated"))["detail"]["into"] for name in over}
    (digest,) = into
    world.asked.add((digest, ann.user_id))
    stopped = await world.becomes(digest, "email", "suppressed", "rate_cap")  # out of a digest it isn't gathered again
    assert stopped["detail"]["cap"] == "then-a-summary"


async def test_quiet_hours_hold_and_a_command_that_ends_them_lets_go_at_once(world: World) -> None:
    ann = await world.person("android", zone="America/New_York")
    await world.prefer(ann, **ann.quiet_now())
    name = await world.ask(ann, "order.shipped")

    held = await world.becomes(name, "push", "held", "quiet_hours")
    await world.becomes(name, "email", "sent")
    await world.becomes(name, "in_app", "sent")
    assert parse_ms(held["detail"]["until"]) > time.time() * 1000
    await world.prefer(ann, quiet_hours={"enabled": False})
    await world.becomes(name, "push", "sent")
    assert [message["provider"] for message in await world.shown(name)] == ["ses", "fcm"]
