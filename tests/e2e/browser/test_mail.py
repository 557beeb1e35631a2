"""A mail as its reader has it: light and dark, wide and on a phone; its links followed, then unsubscribed from."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Route

from app.defaults import default_policy_text
from tests.e2e.browser.conftest import SCREENSHOTS
from tests.e2e.browser.pages import Console
from tests.e2e.rules.world import Person, World

pytestmark = pytest.mark.asyncio(loop_scope="package")

_SHOP = "https://shop.example/"
_LETTERS = (
    "categories:\n"
    "  letters:   {channels: [email], unsubscribe: one_click, footer: true, tracking: all, name: Letters}\n"
)
_BULLETINS = "event_types:\n  bulletin.*: {category: letters}  #"
_HTML = f"""<!doctype html><html lang="en"><head><title>News</title><style>
body {{ margin: 0; background: #fff; color: #222; font-family: sans-serif }}
.page {{ max-width: 600px; margin: 0 auto; padding: 16px }}
a {{ color: #0645ad }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #111 !important; color: #eee !important }}
  a {{ color: #9cf !important }}
}}
</style></head><body><div class="page"><h1>News of the week</h1>
<p>Two things: <a href="{_SHOP}one?a=1&amp;b=2">the first</a> and <a href="{_SHOP}two#part">the second</a>.</p>
</div></body></html>"""
_CONTENT = {"title": "News", "body": "Two things.", "html": _HTML}
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


async def reading(browser: Browser, mail: dict[str, Any], visited: list[str], **options: Any) -> Page:
    """The mail in a window of its own; what its links lead to is noted, and nothing is fetched from there."""
    context: BrowserContext = await browser.new_context(user_agent=_AGENT, **options)

    async def shop(route: Route) -> None:
        visited.append(route.request.url)
        await route.fulfill(body="<title>Shop</title>", content_type="text/html")

    await context.route(f"{_SHOP}**", shop)
    page = await context.new_page()
    await page.set_content(mail["html"])
    return page


async def mail_to(world: World, person: Person) -> tuple[str, dict[str, Any]]:
    notification = await world.ask(person, "bulletin.weekly", content=_CONTENT)
    await world.becomes(notification, "email", "sent")
    [mail] = await world.shown(notification)
    return notification, mail


@pytest.mark.usefixtures("letters")
async def test_a_mail_is_readable_everywhere_and_its_own_link_stops_the_next(world: World, browser: Browser) -> None:
    ann = await world.person()
    notification, mail = await mail_to(world, ann)
    visited: list[str] = []
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    backgrounds = []
    for scheme in ("light", "dark"):
        for width in (1100, 400):
            page = await reading(browser, mail, visited, color_scheme=scheme, viewport={"width": width, "height": 700})
            shown = Console(page, world.system.state.gateway_url)
            assert not await shown.scrolls_sideways()
            assert await shown.serious_findings("color-contrast", "link-name") == []
            backgrounds.append(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
            await page.screenshot(path=SCREENSHOTS / f"mail-{scheme}-{width}.png", full_page=True)
            await page.context.close()
    assert backgrounds == ["rgb(255, 255, 255)"] * 2 + ["rgb(17, 17, 17)"] * 2
    await world.becomes(notification, "email", "opened")

    page = await reading(browser, mail, visited)
    links = [await link.get_attribute("href") for link in await page.locator("a[href]").all()]
    unsubscribe = [link for link in links if link and "/v1/unsubscribe/" in link]
    for link in links:
        assert link is not None
        response = await page.goto(link)
        assert response is not None
        assert response.status == 200
    assert visited == [f"{_SHOP}one?a=1&b=2", f"{_SHOP}two#part"] or visited == [f"{_SHOP}one?a=1&b=2", f"{_SHOP}two"]
    await world.becomes(notification, "email", "clicked")

    _, still = await mail_to(world, ann)  # looking at the page changed nothing
    assert still["html"]
    await page.goto(unsubscribe[0])
    await page.get_by_role("button", name="Unsubscribe").click()
    await page.wait_for_load_state()
    await page.screenshot(path=SCREENSHOTS / "mail-unsubscribed.png")
    await page.context.close()

    await world.becomes(notification, "email", "unsubscribed")
    following = await world.ask(ann, "bulletin.weekly", content=_CONTENT)
    await world.becomes(following, "email", "suppressed", "opted_out")
