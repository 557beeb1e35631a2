"""A mail as its reader has it: opened, clicked, unsubscribed from by its own link; and the user's preference page."""

import re
from html import unescape
from typing import Any

import aiohttp
import pytest

from tests.e2e.rules.world import Person, World

pytestmark = pytest.mark.asyncio(loop_scope="package")

HTML = '<p>Read <a href="https://shop.example/news?a=1&amp;b=2">this</a></p>'
CONTENT = {"title": "News", "body": "Read", "html": HTML}
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"}


async def mail_to(world: World, person: Person) -> tuple[str, dict[str, Any]]:
    """The notification, and what lies in the sandbox of it."""
    notification = await world.ask(person, "bulletin.weekly", content=CONTENT)
    await world.becomes(notification, "email", "sent")
    [shown] = await world.shown(notification)
    return notification, shown


async def test_one_click_on_the_mails_own_link_stops_the_next_one(world: World) -> None:
    ann = await world.person()
    notification, mail = await mail_to(world, ann)
    assert mail["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    url = mail["headers"]["List-Unsubscribe"].strip("<>")
    assert url in unescape(mail["html"])
    assert url in mail["body"]

    async with aiohttp.ClientSession(headers=BROWSER) as session:
        async with session.get(url) as page:
            assert page.status == 200
            assert "Letters" in await page.text()
        for _ in range(2):
            async with session.post(url, data={"List-Unsubscribe": "One-Click"}) as done:
                assert done.status == 200

    await world.becomes(await world.ask(ann, "bulletin.weekly", content=CONTENT), "email", "suppressed", "opted_out")
    await world.until(lambda: world.story(notification, "email").count("unsubscribed") == 1)
    other = await world.ask(ann, "order.shipped", channels=["email"])
    await world.becomes(other, "email", "sent")


async def test_opens_and_clicks_come_back_with_what_fetched_them(world: World) -> None:
    ann = await world.person()
    notification, mail = await mail_to(world, ann)
    [link] = re.findall(r'href="([^"]*/v1/track/click/[^"]*)"', mail["html"])
    [pixel] = re.findall(r'src="([^"]*/v1/track/open/[^"]*)"', mail["html"])

    async with aiohttp.ClientSession(headers=BROWSER) as session:
        async with session.head(link, allow_redirects=False) as scanned:
            assert scanned.headers["Location"] == "https://shop.example/news?a=1&b=2"
        await world.until(lambda: "clicked" in world.story(notification, "email"))
        async with session.get(pixel) as picture:
            assert picture.content_type == "image/gif"
        async with session.get(link, allow_redirects=False) as clicked:
            assert clicked.status == 302

    def told() -> list[tuple[str, Any]]:
        wanted = ("opened", "clicked")
        return [
            (event["status"], (event["detail"] or {}).get("machine"))
            for event in world.told(notification, "email")
            if event["status"] in wanted
        ]

    people = {("opened", None), ("clicked", None)}
    await world.until(lambda: people <= set(told()))
    assert ("clicked", True) in told()


async def test_the_preference_page_turns_a_category_off(world: World) -> None:
    ann = await world.person()
    made = await world.api("POST", f"/v1/users/{ann.user_id}/preferences/link", as_user=ann)
    fields = [("act", "save"), ("shown", "category/letters/email/1")]

    async with aiohttp.ClientSession(headers=BROWSER) as session:
        async with session.get(made["url"]) as page:
            assert 'value="category/letters/email" checked' in await page.text()
        async with session.post(made["url"], data=fields) as saved:
            assert saved.status == 200
            assert 'value="category/letters/email">' in await saved.text()

    await world.becomes(await world.ask(ann, "bulletin.weekly", content=CONTENT), "email", "suppressed", "opted_out")
