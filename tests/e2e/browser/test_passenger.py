"""The demonstration's page with a passenger's inbox, as a newcomer uses it: two tabs in step, preferences, and why."""

import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from app.demo.page import PASSENGER, InboxPage
from tests.e2e.browser.conftest import SCREENSHOTS
from tests.e2e.browser.pages import LIMIT_S, Console
from tests.e2e.rules.world import World

pytestmark = pytest.mark.asyncio(loop_scope="package")

_PATIENCE_MS = LIMIT_S * 1000


@pytest_asyncio.fixture(loop_scope="package")
async def tabs(browser: Browser) -> AsyncIterator[BrowserContext]:
    """Tabs in which no page reports an error."""
    context = await browser.new_context(viewport={"width": 900, "height": 700}, locale="en-GB")
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context
    await context.close()
    assert errors == []


def item(page: Page, title: str | re.Pattern[str]) -> Any:
    return page.get_by_role("article").filter(has_text=title)


async def test_a_passengers_bell_rings_and_a_category_that_is_off_says_why(
    world: World, demo_page: InboxPage, tabs: BrowserContext
) -> None:
    first = await tabs.new_page()
    await first.goto(demo_page.url)
    async with tabs.expect_page() as opening:
        await first.get_by_role("link", name="Open this page in a second tab").click()
    second = await opening.value

    await first.get_by_role("button", name="Delay my flight").click()
    await expect(first.get_by_role("listitem").filter(has_text="Sent by in_app")).to_be_visible(timeout=_PATIENCE_MS)
    for tab in (first, second):
        await tab.bring_to_front()
        await tab.get_by_role("button", name="Notifications, 1 unread").click(timeout=_PATIENCE_MS)
    await first.get_by_role("button", name="Mark as read", exact=True).click()
    await expect(second.get_by_role("button", name="Mark as unread")).to_be_visible(timeout=_PATIENCE_MS)
    await expect(second.get_by_role("button", name="Notifications", exact=True)).to_be_visible(timeout=_PATIENCE_MS)

    await first.keyboard.press("Escape")
    await first.get_by_role("button", name="Send my suitcase after me").click()
    suitcase = item(second, "suitcase")
    await expect(suitcase).to_be_visible(timeout=_PATIENCE_MS)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await second.screenshot(path=SCREENSHOTS / "passenger.png")
    await suitcase.get_by_role("button", name="Snooze").click()
    await suitcase.get_by_role("button", name="For an hour").click()
    await expect(suitcase).to_have_count(0)
    await first.get_by_role("button", name="Notifications", exact=True).click(timeout=_PATIENCE_MS)
    await expect(item(first, "Flight")).to_be_visible()
    await expect(item(first, "suitcase")).to_have_count(0, timeout=_PATIENCE_MS)
    await first.keyboard.press("Escape")

    async with tabs.expect_page() as opening:
        await first.get_by_role("link", name="your preference page").click()
    preferences = await opening.value
    await preferences.get_by_role("group", name="travel").get_by_label("In the app").uncheck()
    await preferences.get_by_role("button", name="Save").click()
    await expect(preferences.get_by_role("status")).to_be_visible(timeout=_PATIENCE_MS)
    await first.get_by_role("button", name="Delay my flight").click()
    turned_off = first.get_by_role("listitem").filter(has_text="Not sent by in_app: the user turned it off")
    await expect(turned_off).to_be_visible(timeout=_PATIENCE_MS)


async def test_axe_has_no_serious_findings_on_a_telephone(
    world: World, demo_page: InboxPage, tabs: BrowserContext
) -> None:
    page = await tabs.new_page()
    await page.set_viewport_size({"width": 320, "height": 640})
    await page.goto(demo_page.url)
    await page.get_by_role("button", name=re.compile("^Notifications")).click()

    assert await Console(page, world.system.state.gateway_url).serious_findings() == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:80"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("POST", "/token"), ("POST", "/send"), ("GET", "/why"), ("GET", "/preferences")]
)
async def test_no_other_site_gets_anything_of_it(
    world: World, demo_page: InboxPage, method: str, path: str, headers: dict[str, str]
) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, demo_page.url + path, headers=headers, allow_redirects=False) as response,
    ):
        assert response.status == 403
        assert PASSENGER not in await response.text()
