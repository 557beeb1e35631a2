"""A mail as its reader has it: each of its links followed, then unsubscribed from by its own."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page

from app.defaults import default_policy_text
from tests.e2e.browser.conftest import SCREENSHOTS
from tests.e2e.rules.world import Person, World

pytestmark = pytest.mark.asyncio(loop_scope="package")

_LETTERS = (
    "categories:\n"
    "  letters:   {channels: [email], unsubscribe: one_click, footer: true, tracking: all, name: Letters}\n"
)
_BULLETINS = "event_types:\n  bulletin.*: {category: letters}  #"
_HTML = """<!doctype html><html lang="en"><head><title>News</title></head><body style="margin: 16px"><h1>News</h1>
<p>Two things: <a href="SHOPone?a=1&amp;b=2">the first</a> and
<a href="SHOPtwo#part">the second</a>.</p></body></html>"""
_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"


@pytest_asyncio.fixture(loop_scope="package")
async def letters(world: World, tmp_path: Path) -> AsyncIterator[None]:
    """A category of mail that can be unsubscribed from, is tracked, and ends with a footer."""
    file = tmp_path / "policy.yaml"
    text = (
        default_policy_text().replace("\ncategories:\n", f"\n{_LETTERS}").replace("\nevent_types:", f"\n{_BULLETINS}")
    )
    file.write_text(text)
    await world.tocsin("policy", "apply", str(file))
    yield
    file.write_text(default_policy_text())
    await world.tocsin("policy", "apply", str(file))


@pytest_asyncio.fixture(loop_scope="package")
async def shop() -> AsyncIterator[tuple[str, list[str]]]:
    """A site of somebody else: its URL, and what was asked of it. (A browser's own routes see no redirects.)"""
    visited: list[str] = []

    async def visit(request: web.Request) -> web.Response:
        visited.append(request.path_qs)
        return web.Response(text="<title>Shop</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/news/{name}", visit)
    async with TestServer(app) as server:
        yield str(server.make_url("/news/")), visited


async def reading(browser: Browser, mail: dict[str, Any], **options: Any) -> Page:
    """The mail in a window of its own."""
    context = await browser.new_context(user_agent=_AGENT, **options)
    page = await context.new_page()
    await page.set_content(mail["html"])
    return page


async def mail_to(world: World, person: Person, html: str) -> tuple[str, dict[str, Any]]:
    notification = await world.ask(
        person, "bulletin.weekly", content={"title": "News", "body": "Two things.", "html": html}
    )
    await world.becomes(notification, "email", "sent")
    [mail] = await world.shown(notification)
    return notification, mail


@pytest.mark.usefixtures("letters")
async def test_each_link_of_a_mail_leads_on_and_its_own_one_stops_the_next(
    world: World, browser: Browser, shop: tuple[str, list[str]]
) -> None:
    url, visited = shop
    html = _HTML.replace("SHOP", url)
    ann = await world.person()
    notification, mail = await mail_to(world, ann, html)

    page = await reading(browser, mail)
    links = [await link.get_attribute("href") for link in await page.locator("a[href]").all()]
    for link in links:
        response = await page.goto(link or "")
        assert response is not None
        assert response.status == 200
    assert visited == ["/news/one?a=1&b=2", "/news/two"]
    await world.becomes(notification, "email", "opened")
    await world.becomes(notification, "email", "clicked")

    await mail_to(world, ann, html)  # looking at the page changed nothing
    [unsubscribe] = [link for link in links if link and "/v1/unsubscribe/" in link]
    await page.goto(unsubscribe)
    await page.get_by_role("button", name="Unsubscribe").click()
    await page.wait_for_load_state()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / "mail-unsubscribed.png")
    await page.context.close()

    await world.becomes(notification, "email", "unsubscribed")
    following = await world.ask(ann, "bulletin.weekly")
    await world.becomes(following, "email", "suppressed", "opted_out")
