"""A mail as a mail program shows it, in a real Chromium: light and dark, wide and on a phone."""

import os
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from app.dev.chromium import NoChromium, ensure_chromium, has_sandbox
from schemas.requests import Content
from tests.agents.senders import email
from tests.agents.stage import a_catalog, a_send
from tests.e2e.browser.pages import Console
from tests.lacking import lacking

_REPOSITORY = Path(__file__).parents[3]
_SCREENSHOTS = _REPOSITORY / "build" / "screenshots"
_LETTERS = {"channels": ["email"], "unsubscribe": "one_click", "footer": True, "tracking": "all"}
_HTML = """<!doctype html><html lang="en"><head><title>News</title><style>
body { margin: 0; background: #fff; color: #222; font-family: sans-serif }
.page { max-width: 600px; margin: 0 auto; padding: 16px }
a { color: #0645ad }
@media (prefers-color-scheme: dark) {
  body { background: #111 !important; color: #eee !important }
  a { color: #9cf !important }
}
</style></head><body><div class="page"><h1>News of the week</h1>
<p>Two things: <a href="https://shop.example/one">the first</a> and
<a href="https://shop.example/two">the second</a>.</p>
</div></body></html>"""


def a_mail() -> str:
    """The HTML that a provider is given: with its footer, its links and its pixel."""
    categories = {"orders": _LETTERS, "security": {"channels": ["email"]}, "other": {"channels": ["email"]}}
    stage = email(catalog=a_catalog(categories=categories), postal_address="Acme, 1 Street")
    content = Content(title="News", body="Two things.", html=_HTML)
    stage.take(a_send(1, channel="email", template_id=None, content=content))
    html = stage.calls[0].message.html
    assert html is not None
    return html


@pytest.mark.parametrize("width", [1100, 400])
@pytest.mark.parametrize(("scheme", "background"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(17, 17, 17)")])
async def test_a_mail_with_its_footer_is_readable_everywhere(scheme: str, background: str, width: int) -> None:
    try:
        program = ensure_chromium(_REPOSITORY / ".tocsin" / "chromium", os.environ)
    except NoChromium as error:
        lacking(str(error))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, chromium_sandbox=has_sandbox())
        page = await browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 700})  # type: ignore[arg-type]
        await page.route("**/*", lambda route: route.abort())  # nothing is fetched, the pixel least of all
        await page.set_content(a_mail(), wait_until="commit")
        shown = Console(page, "")

        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == background
        assert not await shown.scrolls_sideways()
        assert await shown.serious_findings("color-contrast", "link-name") == []
        links = [await link.inner_text() for link in await page.locator("a[href]").all()]
        assert links == ["the first", "the second", "Unsubscribe"]
        _SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=_SCREENSHOTS / f"mail-{scheme}-{width}.png", full_page=True)
        await browser.close()
