"""A mail as its reader has it: opened, clicked, unsubscribed from by its own link; and the user's preference page."""

import re
import uuid
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from app.config import Settings
from app.domain.links import Links, OfSend, Tokens
from tests.e2e.rules.world import Person, World

pytestmark = pytest.mark.asyncio(loop_scope="package")

HTML = '<p>Read <a href="https://shop.example/news?a=1&amp;b=2">this</a></p>'
CONTENT = {"title": "News", "body": "Read", "html": HTML}
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest_asyncio.fixture(loop_scope="package")
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
    async with aiohttp.ClientSession(headers={"User-Agent": agent, "Accept": "text/html"}) as session:
        yield session


async def mail_to(world: World, person: Person, **asked: Any) -> tuple[str, dict[str, Any]]:
    """The notification, and what lies in the sandbox of it."""
    notification = await world.ask(person, "bulletin.weekly", **asked or {"content": CONTENT})
    await world.becomes(notification, "email", "sent")
    [shown] = await world.shown(notification)
    return notification, shown


def unsubscribe_link(mail: dict[str, Any]) -> str:
    assert mail["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    url: str = mail["headers"]["List-Unsubscribe"].strip("<>")
    return url


async def is_opted_out(world: World, person: Person) -> None:
    """Waits until the next mail of the category isn't sent, and holds that its explanation says why."""
    notification = await world.ask(person, "bulletin.weekly", content=CONTENT)
    await world.becomes(notification, "email", "suppressed", "opted_out")
    why = await world.api("GET", f"/v1/notifications/{notification}/why?user_id={person.user_id}")
    mail = why["channels"]["email"]
    assert (mail["outcome"], mail["reason"]) == ("suppressed", "opted_out")
    assert mail["trail"][-1]["rule"] == "preference"
    assert await world.shown(notification) == []


async def test_one_click_on_the_mails_own_link_stops_the_next_one(world: World, browser: aiohttp.ClientSession) -> None:
    ann = await world.person()
    notification, mail = await mail_to(world, ann)
    url = unsubscribe_link(mail)
    assert url in unescape(mail["html"])
    assert url in mail["body"]

    async with browser.get(url) as page:
        assert page.status == 200
        assert "Letters" in await page.text()
    _, mail = await mail_to(world, ann)  # asking changed nothing
    for _ in range(2):
        async with browser.post(url, data=ONE_CLICK) as done:
            assert done.status == 200
            assert "Letters" in await done.text()

    await is_opted_out(world, ann)
    await world.until(lambda: world.story(notification, "email").count("unsubscribed") == 1)
    other = await world.ask(ann, "order.shipped", channels=["email"])
    await world.becomes(other, "email", "sent")
    async with browser.post(unsubscribe_link(mail), data=ONE_CLICK) as again:  # of the later mail
        assert again.status == 200
    assert world.story(notification, "email").count("unsubscribed") == 1


async def test_an_unsubscribe_link_acts_though_its_send_is_forgotten(
    world: World, browser: aiohttp.ClientSession
) -> None:
    ann = await world.person()
    links = links_of(world)
    token = links.tokens.make("unsubscribe", OfSend(ann.user_id, "email", "letters", uuid.uuid4().bytes))
    url = f"{world.system.state.gateway_url}/v1/unsubscribe/{token}"

    async with browser.post(url, data=ONE_CLICK) as done:
        assert done.status == 200

    await is_opted_out(world, ann)
    told = [event for event in world.events if event["user_id"] == ann.user_id and event["status"] == "unsubscribed"]
    assert told == []


async def test_a_foreign_token_is_unknown_and_changes_nothing(world: World, browser: aiohttp.ClientSession) -> None:
    ann = await world.person()
    _, mail = await mail_to(world, ann)
    of_ann = OfSend(ann.user_id, "email", "letters", uuid.uuid4().bytes)
    another = Links(world.system.state.gateway_url, Tokens(["a key of somebody else"]))
    [clicked] = re.findall(r'/v1/track/click/([^"]*)"', mail["html"])
    gateway = world.system.state.gateway_url
    tokens = [another.tokens.make("unsubscribe", of_ann), clicked, unsubscribe_link(mail)[:-1], "x"]

    for path in (f"{gateway}/v1/unsubscribe/", f"{gateway}/preferences/"):
        for token in tokens:
            async with browser.get(path + token) as page:
                assert page.status == 404
            async with browser.post(path + token, data={**ONE_CLICK, "act": "all"}) as refused:
                assert refused.status == 404

    await mail_to(world, ann)


async def test_opens_and_clicks_come_back_with_what_fetched_them(world: World, browser: aiohttp.ClientSession) -> None:
    ann = await world.person()
    notification, mail = await mail_to(world, ann)
    [link] = re.findall(r'href="([^"]*/v1/track/click/[^"]*)"', mail["html"])
    [pixel] = re.findall(r'src="([^"]*/v1/track/open/[^"]*)"', mail["html"])

    async with browser.head(link, allow_redirects=False) as scanned:
        assert scanned.headers["Location"] == "https://shop.example/news?a=1&b=2"
    await world.until(lambda: "clicked" in world.story(notification, "email"))
    async with browser.get(pixel) as picture:
        assert picture.content_type == "image/gif"
    async with browser.get(link, allow_redirects=False) as clicked:
        assert clicked.status == 302

    def fetched() -> list[tuple[str, Any]]:
        told = [event for event in world.told(notification, "email") if event["status"] in ("opened", "clicked")]
        return [(event["status"], (event["detail"] or {}).get("machine")) for event in told]

    await world.until(lambda: {("opened", None), ("clicked", None)} <= set(fetched()))
    assert ("clicked", True) in fetched()


async def test_mail_that_is_critical_or_of_another_category_is_not_tracked(world: World) -> None:
    ann = await world.person()
    for asked in ({"topic": "notify_events_critical", "priority": "critical", "source": "auth"}, {}):
        event_type = "bulletin.urgent" if asked else "order.shipped"
        notification = await world.ask(ann, event_type, channels=["email"], content=CONTENT, **asked)
        await world.becomes(notification, "email", "sent")
        [mail] = await world.shown(notification)
        assert "/v1/track/" not in mail["html"]


async def test_the_preference_page_that_a_mail_links_to_turns_a_category_off(
    world: World, browser: aiohttp.ClientSession
) -> None:
    parts = {"subject": "News", "html": '<p><a href="{{ preferences_url }}">Fewer?</a></p>'}
    await world.api("PUT", "/v1/templates/bulletin", channels={"email": {"en": parts}})
    ann = await world.person()
    _, mail = await mail_to(world, ann, template_id="bulletin")
    [url] = re.findall(r'href="([^"]*/preferences/[^"]*)"', mail["html"])
    assert f"({url})" in mail["body"]
    fields = [("act", "save"), ("shown", "category/letters/email/1")]

    async with browser.get(url) as page:
        assert 'value="category/letters/email" checked' in await page.text()
    async with browser.post(url, data=fields) as saved:
        assert saved.status == 200
        assert 'value="category/letters/email">' in await saved.text()

    await is_opted_out(world, ann)
    document = await world.api("GET", f"/v1/users/{ann.user_id}/preferences", as_user=ann)
    assert document["categories"] == {"letters": {"email": False}}


async def test_the_preference_page_that_an_app_asks_for_turns_it_on_again(
    world: World, browser: aiohttp.ClientSession
) -> None:
    ann = await world.person()
    await world.prefer(ann, categories={"letters": {"email": False}})
    await is_opted_out(world, ann)
    made = await world.api("POST", f"/v1/users/{ann.user_id}/preferences/link", as_user=ann)
    fields = [("act", "save"), ("shown", "category/letters/email/0"), ("on", "category/letters/email")]

    async with browser.get(made["url"]) as page:
        text = await page.text()
        assert 'value="category/letters/email">' in text
        assert ann.email not in text
        assert ann.phone not in text
    async with browser.post(made["url"], data=fields) as saved:
        assert saved.status == 200

    await mail_to(world, ann)


def links_of(world: World) -> Links:
    links = Settings.load(world.system.environment).links
    assert links is not None
    return links
