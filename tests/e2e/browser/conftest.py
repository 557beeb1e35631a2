"""One running system, and one Chromium in which its console is used. Screenshots lie in ``build/screenshots``."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import tomli_w
from playwright.async_api import Browser, async_playwright

from app.config.keys import new_api_key, settings_entry
from app.demo.page import InboxPage
from app.dev.chromium import NoChromium, ensure_chromium, has_sandbox
from app.dev.system import DevSystem, Options
from app.private import write_private
from tests.e2e.browser.pages import Console
from tests.e2e.rules.world import World, reaching
from tests.lacking import lacking

_REPOSITORY = Path(__file__).parents[3]
SCREENSHOTS = _REPOSITORY / "build" / "screenshots"

#: Opens a window of one's own: ``await window(key="reader", width=400)``; ``key``: signed in with it.
Window = Callable[..., Awaitable[Console]]

READER = new_api_key("reader", "", ("admin:read",))


@pytest.fixture(scope="package")
def demo_page() -> Iterator[InboxPage]:
    """The page with a passenger's inbox, beside the system."""
    with closing(InboxPage()) as page:
        yield page


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def world(tmp_path_factory: pytest.TempPathFactory, demo_page: InboxPage) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("browser") / "dev"
    reader = settings_entry(READER, "", ("admin:read",)).model_dump(exclude_unset=True)
    folder.mkdir(mode=0o700)
    write_private(folder / "tocsin.toml", tomli_w.dumps({"auth": {"api_keys": [reader]}}).encode())
    options = Options(folder=folder, jars=_REPOSITORY / ".tocsin" / "kafka", settings=demo_page.settings)
    async with DevSystem(options) as system, demo_page.served(system.state), reaching(system) as world:
        yield world


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    try:
        program = ensure_chromium(_REPOSITORY / ".tocsin" / "chromium", os.environ)
    except NoChromium as error:
        lacking(str(error))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, chromium_sandbox=has_sandbox())
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="package")
async def window(world: World, browser: Browser) -> AsyncIterator[Window]:
    """Whatever a test does in its windows: nothing was asked of another host, and no page reports an error."""
    ours = urlsplit(world.system.state.gateway_url).netloc
    elsewhere: list[str] = []
    errors: list[str] = []
    async with AsyncExitStack() as stack:

        async def opened(key: str | None = "admin", width: int = 1100, height: int = 700, **options: Any) -> Console:
            context = await browser.new_context(
                viewport={"width": width, "height": height}, timezone_id="Asia/Kolkata", locale="en-GB", **options
            )
            stack.push_async_callback(context.close)
            context.on("request", lambda request: elsewhere.append(request.url) if _host(request.url) != ours else None)
            page = await context.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            console = Console(page, world.system.state.gateway_url)
            if key is not None:
                keys = {**world.system.state.api_keys, "reader": READER}
                await console.sign_in(keys[key])
            return console

        yield opened
    assert elsewhere == []
    assert errors == []


def _host(url: str) -> str:
    return urlsplit(url).netloc
