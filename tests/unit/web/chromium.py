"""A Chromium without a window, by Playwright: enough to see and press what a person would, and to take the network
away."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import BrowserContext, CDPSession, Page, async_playwright

from app.dev.chromium import NoChromium, ensure_chromium, has_sandbox
from tests.lacking import lacking

_FOLDER = Path(__file__).parents[3] / ".tocsin" / "chromium"


class Tab:
    """One page. ``session``: its DevTools protocol, for what is said in a page's own words: a script's names last."""

    def __init__(self, page: Page, session: CDPSession) -> None:
        self._page = page
        self._session = session

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        async with asyncio.timeout(60):
            result: dict[str, Any] = await self._session.send(method, params)
        return result

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression comes to; a promise is awaited."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        result = await self.call("Runtime.evaluate", **asked)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Returns when it is true."""
        try:
            async with asyncio.timeout(60):
                while not await self.value(f"Boolean({expression})"):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never true: {expression}") from None

    async def serious_findings(self) -> list[str]:
        """What axe-core finds of an impact that keeps somebody from using the page."""
        results = await Axe().run(self._page, options={"resultTypes": ["violations"]})
        return [
            f"{each['id']}: {[node['html'][:200] for node in each['nodes']]}"
            for each in results.response["violations"]
            if each["impact"] in ("serious", "critical")
        ]

    async def press(self, key: str) -> None:
        await self._page.keyboard.press(key)


class Browser:
    """Its tabs share what they store, as those of one person do."""

    def __init__(self, context: BrowserContext) -> None:
        self._context = context

    @asynccontextmanager
    async def tab(self, url: str) -> AsyncIterator[Tab]:
        page = await self._context.new_page()
        session = await self._context.new_cdp_session(page)
        await page.goto(url, wait_until="commit")
        yield Tab(page, session)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_program(), chromium_sandbox=has_sandbox())
        yield Browser(await browser.new_context())
        await browser.close()


def _program() -> Path:
    try:
        return ensure_chromium(_FOLDER, os.environ)
    except NoChromium as error:
        lacking(str(error))
