"""<tocsin-inbox>, as a browser runs it and a person uses it."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from app.web import component, integrity
from schemas.requests import Button, Content, InboxOptions
from tests.calling import user_token
from tests.unit.api.test_inbox_stream import Served, serving
from tests.unit.web.chromium import Browser, Tab, chromium

ROOT = Path(__file__).parents[3]

PAGE = """<!doctype html><html lang="en" dir="{dir}"><meta charset="utf-8"><title>A page</title>
<script type="module" src="{gateway}/web/tocsin-inbox.js" integrity="{integrity}" crossorigin="anonymous"></script>
<tocsin-inbox user="u1" token="{token}" gateway="{gateway}"></tocsin-inbox>"""
INBOX = "document.querySelector('tocsin-inbox')"
ROOT_OF = f"{INBOX}.shadowRoot"


def test_it_is_small() -> None:
    assert len(gzip.compress(component())) < 15 * 1024


def test_the_docs_have_its_integrity() -> None:
    assert integrity(component()) in (ROOT / "docs" / "inbox.md").read_text(encoding="utf-8")


def test_its_types_name_every_label() -> None:
    script = component().decode()
    types = (ROOT / "clients/web/tocsin-inbox.d.ts").read_text(encoding="utf-8")
    labels = re.findall(r"^  (\w+):", script.split("const LABELS = {")[1].split("};")[0], re.M)
    assert re.findall(r'"(\w+)"', types.split("InboxLabel =")[1].split(";")[0]) == labels


def test_it_makes_no_markup_of_what_it_is_given() -> None:
    script = component().decode()
    makes = r"(?:innerHTML|outerHTML|insertAdjacentHTML|document\.write)\W+\w+"
    assert re.findall(makes, script) == ["innerHTML = BELL"]


async def test_the_gateway_serves_it_to_any_page_and_says_when_it_has_not_changed() -> None:
    async with serving() as served:
        url = f"{served.url}/web/tocsin-inbox.js"
        async with served.session.get(url) as response:
            assert (response.status, response.content_type) == (200, "text/javascript")
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert await response.read() == component()
        async with served.session.get(url, headers={"If-None-Match": response.headers["ETag"]}) as again:
            assert (again.status, await again.read()) == (304, b"")


# --- in a browser


@asynccontextmanager
async def page(served: Served, direction: str = "ltr") -> AsyncIterator[str]:
    """A page of somebody else's, with the component on it."""
    text = PAGE.format(dir=direction, gateway=served.url, integrity=integrity(component()), token=user_token("u1"))

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", served.page_port)
    await site.start()
    try:
        yield f"http://127.0.0.1:{served.page_port}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def opened(tmp_path: Path, direction: str = "ltr") -> AsyncIterator[tuple[Served, Browser, str]]:
    async with serving() as served, page(served, direction) as url, chromium(tmp_path) as browser:
        yield served, browser, url


def badge(text: str) -> str:
    shown = f"{ROOT_OF}.querySelector('.badge')"
    return f"{INBOX}?.shadowRoot && ({shown}.hidden ? '' : {shown}.textContent) === {json.dumps(text)}"


def titles(*names: str) -> str:
    found = f"[...{ROOT_OF}.querySelectorAll('article h3')].map((each) => each.textContent)"
    return f"JSON.stringify({found}) === {json.dumps(json.dumps(list(names), separators=(',', ':')))}"


def item(served: Served, title: str, **changes: Any) -> str:
    name = served.inbox.item(template_id=None, content=Content(title, "b"), **changes)
    served.tell()
    return name


async def press(tab: Tab, label: str) -> None:
    """The first button of that name."""
    buttons = f"[...{ROOT_OF}.querySelectorAll('button')]"
    await tab.value(f"{buttons}.find((each) => each.textContent === {json.dumps(label)}).click()")


async def test_two_tabs_are_in_step(tmp_path: Path) -> None:
    async with opened(tmp_path) as (served, browser, url), browser.tab(url) as one, browser.tab(url) as other:
        await one.until(f"{INBOX}?.items && {badge('')}")
        item(served, "First")
        item(served, "Second")
        for tab in (one, other):
            await tab.until(badge("2"))
            await tab.until(titles("Second", "First"))
        await one.value(f"{INBOX}.open()")
        await press(one, "Mark as read")
        for tab in (one, other):
            await tab.until(badge("1"))
        await press(one, "Mark all as read")
        for tab in (one, other):
            await tab.until(badge(""))

        await one.value(
            f"(() => {{ const s = {ROOT_OF}.querySelector('select'); s.value = 'hour';"
            " s.dispatchEvent(new Event('change')) })()"
        )
        for tab in (one, other):
            await tab.until(titles("First"))
        await press(other, "Archive")
        await press(one, "Archive")
        await one.until(f"{INBOX}.items.length <= 1")
        assert served.inbox.page(snoozed="true")["notifications"][0]["title"] == "Second"


async def test_it_comes_back_after_a_break_with_all_that_came_meanwhile(tmp_path: Path) -> None:
    async with opened(tmp_path) as (served, browser, url), browser.tab(url) as tab:
        await tab.until(f"{INBOX}?.items && {badge('')}")
        item(served, "Before")
        await tab.until(titles("Before"))
        served.live.streams.lost()
        item(served, "Meanwhile")
        await tab.until(titles("Meanwhile", "Before"))
        item(served, "After")
        await tab.until(titles("After", "Meanwhile", "Before"))
        await tab.until(badge("3"))


async def test_a_long_inbox_is_read_as_one_scrolls(tmp_path: Path) -> None:
    async with opened(tmp_path) as (served, browser, url), browser.tab(url) as tab:
        for number in range(70):
            item(served, f"No. {number}")
        await tab.until(f"{INBOX}?.items?.length >= 20")
        await tab.value(f"{INBOX}.open()")
        await tab.until(
            f"(() => {{ const f = {ROOT_OF}.querySelector('.feed'); f.scrollTop = f.scrollHeight;"
            f" return {INBOX}.items.length === 70 }})()"
        )
        assert await tab.value(f"new Set({INBOX}.items.map((each) => each.id)).size") == 70


async def test_the_keyboard_alone_does(tmp_path: Path) -> None:
    async with opened(tmp_path) as (served, browser, url), browser.tab(url) as tab:
        await tab.until(f"{INBOX}?.items && {badge('')}")
        item(served, "Old")
        item(served, "New")
        await tab.until(badge("2"))
        bell = f"{ROOT_OF}.querySelector('.bell')"
        assert await tab.value(f"{bell}.getAttribute('aria-label')") == "Notifications, 2 unread"
        await tab.value(f"{bell}.focus()")
        await tab.press("Enter")
        focused = f"{ROOT_OF}.activeElement"
        await tab.until(f"{focused}.querySelector('h3')?.textContent === 'New'")
        await tab.press("ArrowDown")
        await tab.until(f"{focused}.querySelector('h3')?.textContent === 'Old'")
        await tab.press("Enter")  # opens it: it is read
        await tab.until(badge("1"))
        await tab.press("Escape")
        await tab.until(f"{ROOT_OF}.querySelector('.panel').hidden && {focused} === {bell}")


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
async def test_what_comes_runs_no_script_and_the_panel_stays_in_the_page(tmp_path: Path, direction: str) -> None:
    async with opened(tmp_path, direction) as (served, browser, url), browser.tab(url) as tab:
        await tab.until(f"{INBOX}?.items && {badge('')}")
        evil = "<img src=x onerror='window.hit=1'>"
        options = InboxOptions(icon="javascript:window.hit=1", actions=[Button(evil, "javascript:window.hit=1")])
        served.inbox.item(template_id=None, content=Content(evil, evil, url="javascript:window.hit=1"), inbox=options)
        served.tell()
        await tab.until(titles(evil))
        await tab.value(f"{INBOX}.open()")
        assert await tab.value(f"{ROOT_OF}.querySelectorAll('a, img').length") == 0
        assert await tab.value("window.hit ?? null") is None
        for width in (320, 1200):
            await tab.value(f"{INBOX}.close()")
            await tab.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=640, deviceScaleFactor=1, mobile=False
            )
            await tab.until(f"innerWidth === {width}")
            await tab.value(f"{INBOX}.open()")
            inside = f"(() => {{ const r = {ROOT_OF}.querySelector('.panel').getBoundingClientRect();"
            await tab.until(f"{inside} return r.left >= 0 && r.right <= innerWidth + 1 && r.width > 200 }})()")


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
async def test_axe_has_no_serious_findings_by_day_or_night(tmp_path: Path, direction: str) -> None:
    async with opened(tmp_path, direction) as (served, browser, url), browser.tab(url) as tab:
        await tab.until(f"{INBOX}?.items && {badge('')}")
        for title in ("Old", "New"):
            item(served, title)
        await tab.until(badge("2"))
        await tab.value(f"{INBOX}.open()")
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            await tab.call("Emulation.setEmulatedMedia", features=features)
            assert await tab.serious_findings() == [], scheme


async def test_it_comes_back_when_the_network_does(tmp_path: Path) -> None:
    async with opened(tmp_path) as (served, browser, url), browser.tab(url) as tab:
        await tab.until(f"{INBOX}?.items && {badge('')}")
        offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        await tab.call("Network.enable")
        await tab.call("Network.emulateNetworkConditions", offline=True, **offline)
        served.live.streams.lost()
        item(served, "Meanwhile")
        await tab.call("Network.emulateNetworkConditions", offline=False, **offline)
        await tab.until(titles("Meanwhile"))
        await tab.until(badge("1"))
