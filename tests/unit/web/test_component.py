"""<tocsin-inbox>, as a browser runs it and a person uses it."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import pytest
from aiohttp import web

from app.api.problems import Problem
from app.web import COMPONENT, HASHED, component, hashed, integrity
from schemas.instants import rfc3339
from schemas.requests import Button, Content, InboxOptions
from tests.calling import user_token
from tests.conftest import eventually
from tests.unit.api.test_inbox_stream import Served, serving
from tests.unit.web.chromium import Browser, Tab, chromium

ROOT = Path(__file__).parents[3]

DOCS = (ROOT / "docs" / "inbox.md").read_text(encoding="utf-8")
SNIPPET = DOCS.split("```html\n")[1].split("```")[0]
PAGE = f'<!doctype html><html lang="en" dir="DIR"><meta charset="utf-8"><title>A page</title>\n{SNIPPET}'
#: The strictest under which the docs say that it works.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' GATEWAY; connect-src 'self' GATEWAY ws:;"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
#: What a user can choose.
CHOOSABLE = """
categories:
  security: {opt_out: never, channels: [push, email]}
  orders: {channels: [email, in_app], name: "Orders <b>", description: "Where your parcel is"}
  other: {channels: [in_app]}
event_types:
  order.late: {category: orders}
"""
INBOX = "document.querySelector('tocsin-inbox')"
ROOT_OF = f"{INBOX}.shadowRoot"


def test_it_is_small() -> None:
    assert len(gzip.compress(component())) < 15 * 1024


def test_the_docs_have_its_integrity_and_its_hash() -> None:
    assert integrity(component()) in DOCS
    assert f"/web/{HASHED.format(hashed(component()))}" in DOCS


def test_its_types_name_every_label() -> None:
    script = component().decode()
    types = (ROOT / "clients/web/tocsin-inbox.d.ts").read_text(encoding="utf-8")
    labels = re.findall(r"^  (\w+):", script.split("const LABELS = {")[1].split("};")[0], re.M)
    assert re.findall(r'"(\w+)"', types.split("InboxLabel =")[1].split(";")[0]) == labels


def test_it_makes_no_markup_of_what_it_is_given() -> None:
    script = component().decode()
    makes = r"(?:innerHTML|outerHTML|insertAdjacentHTML|document\.write)\W+\w+"
    assert re.findall(makes, script) == []


@pytest.mark.parametrize(
    ("name", "kept"),
    [(COMPONENT, "public, max-age=3600"), (HASHED.format(hashed(component())), "public, max-age=31536000, immutable")],
)
@pytest.mark.parametrize("coding", ["gzip", "identity"])
async def test_the_gateway_serves_it_to_any_page_and_says_when_it_has_not_changed(
    name: str, kept: str, coding: str
) -> None:
    async with serving() as served:
        url, asked = f"{served.url}/web/{name}", {"Accept-Encoding": coding}
        async with served.session.get(url, headers=asked) as response:
            assert (response.status, response.content_type) == (200, "text/javascript")
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert response.headers["Cache-Control"] == kept
            assert response.headers["Vary"] == "Accept-Encoding"
            assert response.headers.get("Content-Encoding", "identity") == coding
            assert await response.read() == component()
        async with served.session.get(url, headers={"If-None-Match": response.headers["ETag"]}) as again:
            assert (again.status, await again.read()) == (304, b"")


async def test_a_version_that_it_has_not_is_not_known() -> None:
    async with serving() as served, served.session.get(f"{served.url}/web/{HASHED.format('0' * 16)}") as response:
        assert response.status == 404


# --- in a browser


@asynccontextmanager
async def page(served: Served, direction: str, headers: dict[str, str]) -> AsyncIterator[str]:
    """A page of somebody else's, with the component on it, as the docs say."""
    text = PAGE.replace("DIR", direction).replace("https://notify.example.com", served.url).replace("ada", "u1")

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def answer_token(_: web.Request) -> web.Response:
        return web.Response(text=user_token("u1"))

    app = web.Application()
    app.router.add_get("/", answer)
    app.router.add_get("/my/notify-token", answer_token)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", served.page_port)
    await site.start()
    try:
        yield f"http://127.0.0.1:{served.page_port}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def opened(direction: str = "ltr", policy: str = "") -> AsyncIterator[tuple[Served, Browser, str]]:
    async with serving(policy=CHOOSABLE) as served:
        headers = {"Content-Security-Policy": policy.replace("GATEWAY", served.url)} if policy else {}
        async with page(served, direction, headers) as url, chromium() as browser:
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


def button(label: str, within: str = "article") -> str:
    """The first of that name."""
    buttons = f"[...{ROOT_OF}.querySelectorAll('{within} button')]"
    return f"{buttons}.find((each) => each.textContent === {json.dumps(label)})"


async def press(tab: Tab, label: str, within: str = "article") -> None:
    await tab.value(f"{button(label, within)}.click()")


async def test_two_tabs_are_in_step() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as one, browser.tab(url) as other:
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
        await press(one, "Mark all as read", "header")
        for tab in (one, other):
            await tab.until(badge(""))

        await press(one, "Snooze")
        await press(one, "For an hour")
        for tab in (one, other):
            await tab.until(titles("First"))
        await press(other, "Archive")
        for tab in (one, other):
            await tab.until(titles())
        assert [each["title"] for each in served.inbox.page(snoozed="true")["notifications"]] == ["Second"]
        assert [each["title"] for each in served.inbox.page(archived="true")["notifications"]] == ["First"]


async def test_seven_tabs_are_live_though_a_browser_opens_six_connections() -> None:
    async with opened() as (served, browser, url), AsyncExitStack() as stack:
        tabs = [await stack.enter_async_context(browser.tab(url)) for _ in range(7)]
        for tab in tabs:
            await tab.until(f"{INBOX}?.items && {badge('')}")
        item(served, "To all")
        for tab in tabs:
            await tab.until(titles("To all"))
        await press(tabs[-1], "Mark as read")
        for tab in tabs:
            await tab.until(badge(""))


# --- a page and its stream


class HeldBack:
    """Pages that are asked for with a parameter: each is read, and not answered until ``answer``."""

    def __init__(self, served: Served, param: str) -> None:
        self._inbox = cast(Any, served.inbox)
        self._param, self._read = param, served.inbox.read
        self.was_read, self._may_answer = asyncio.Event(), asyncio.Event()
        self._inbox.read = self._read_slowly

    def answer(self) -> None:
        self._inbox.read = self._read
        self._may_answer.set()

    async def _read_slowly(self, *asked: Any) -> Any:
        page = await self._read(*asked)
        if asked[2] == "inbox" and self._param in urlencode(asked[3]):
            self.was_read.set()
            await self._may_answer.wait()
        return page


async def test_what_changes_while_a_page_is_on_its_way_is_shown() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        item(served, "Kept")
        old = item(served, "Old")
        await tab.until(f"{INBOX}?.items && {titles('Old', 'Kept')} && {badge('2')}")
        await press(tab, "Archived", "header")
        held = HeldBack(served, "archived=false")
        await press(tab, "Inbox", "header")
        await held.was_read.wait()
        served.inbox.mark(old, "archived")
        for title in ("New", "Newer"):
            item(served, title)
        await tab.until(badge("3"))
        held.answer()
        await tab.until(titles("Newer", "New", "Kept"))


async def test_what_changes_while_older_items_are_on_their_way_is_shown() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        names = [item(served, f"No. {number}") for number in range(22)]
        await tab.until(f"{INBOX}?.items?.length >= 20 && {badge('22')}")
        await tab.value(f"{INBOX}.setAttribute('gateway', {json.dumps(served.url)})")  # begins with a page
        await tab.until(f"{INBOX}.items.length === 20 && {badge('22')}")
        held = HeldBack(served, "cursor=")
        await tab.value(f"{INBOX}.open()")
        feed = f"{ROOT_OF}.querySelector('.feed')"
        await tab.value(f"{feed}.scrollTop = {feed}.scrollHeight")
        await held.was_read.wait()
        served.inbox.mark(names[0], "archived")
        item(served, "New")
        await tab.until(f"{INBOX}.items[0].title === 'New'")
        held.answer()
        await tab.until(f"{INBOX}.items.at(-1).title === 'No. 1'")
        assert await tab.value(f"{INBOX}.items.length") == 22


async def test_what_a_page_knows_already_is_not_put_on_top() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        item(served, "Old")
        await tab.until(f"{INBOX}?.items && {titles('Old')} && {badge('1')}")
        await tab.value(
            "window.shown = []; new MutationObserver((all) => all.forEach((each) => each.addedNodes.forEach("
            f"(one) => shown.push(one.textContent)))).observe({ROOT_OF}.querySelector('[role=feed]'), "
            "{childList: true})"
        )
        gone = served.inbox.item(template_id=None, content=Content("Gone", "b"))
        served.inbox.mark(gone, "archived")
        await press(tab, "Archived", "header")
        await tab.until(titles("Gone"))
        await press(tab, "Inbox", "header")
        await tab.until(titles("Old"))
        await tab.value("shown.length = 0")
        served.tell()
        item(served, "Last")
        await tab.until(titles("Last", "Old"))
        assert not await tab.value("shown.some((each) => each.startsWith('Gone'))")


async def test_a_page_is_read_anew_only_for_what_comes_back() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        names = [item(served, f"No. {number}") for number in range(30)]
        await tab.until(f"{INBOX}?.items?.length >= 20 && {badge('30')}")
        await tab.value(f"{INBOX}.setAttribute('gateway', {json.dumps(served.url)})")  # begins with a page
        await tab.until(f"{INBOX}.items.length === 20 && {badge('30')}")
        await tab.value(
            "window.pages = 0; window.real = fetch;"
            "window.fetch = (url, how) => { pages += how?.method === 'GET'; return real(url, how) }; true"
        )
        served.inbox.mark(names[0], "read")
        served.tell()
        await tab.until(badge("29"))
        until = rfc3339(served.inbox.now + 3_600_000)
        served.inbox.command("inbox.snooze", notification_id=names[29], until=until)
        served.tell()
        await tab.until(f"{badge('28')} && {INBOX}.items.length === 19")
        served.inbox.command("inbox.snooze", notification_id=names[29], until=None)
        served.tell()
        await tab.until(f"{badge('29')} && {INBOX}.items[0].title === 'No. 29'")
        assert await tab.value("pages") == 1


async def test_nothing_of_a_user_stays_when_they_sign_out() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        await tab.until(f"{INBOX}?.items && {badge('')}")
        await tab.until(f"{ROOT_OF}.querySelector('.empty').hidden === false")
        item(served, "First")
        item(served, "Second")
        await tab.until(badge("2"))
        await tab.until(f"{ROOT_OF}.querySelector('.said').textContent.includes('Second')")
        await tab.value(
            "window.real = fetch; window.fetch = (url, how) =>"
            " String(url).endsWith('/read') ? new Promise(() => {}) : real(url, how); true"
        )
        await press(tab, "Mark as read")
        await tab.value(f"{INBOX}.removeAttribute('user')")
        await tab.until(f"{titles()} && {badge('')} && {INBOX}.counts.unseen === 0")
        assert await tab.value(f"{ROOT_OF}.querySelector('.said').textContent") == ""
        await tab.value("document.dispatchEvent(new Event('visibilitychange'))")

        await tab.value(f"window.fetch = real; {INBOX}.setAttribute('user', 'u1')")
        await tab.until(badge("2"))
        await press(tab, "Mark as read")
        await tab.until(badge("1"))


async def test_it_takes_what_a_page_set_before_the_component_was_there() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        await tab.until(f"{INBOX}?.items")
        await tab.value(
            f"(async () => {{ const one = document.implementation.createHTMLDocument().createElement('tocsin-inbox');"
            " one.setAttribute('user', 'u1'); one.labels = {bell: 'Glocke'};"
            f" one.getToken = {INBOX}.getToken; {INBOX}.replaceWith(one) }})()"
        )
        item(served, "First")
        await tab.until(f"{titles('First')} && {badge('1')}")
        assert await tab.value(f"{ROOT_OF}.querySelector('.bell').getAttribute('aria-label')") == "Glocke, 1 unread"


async def test_times_go_on() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        item(served, "First")
        await tab.until(f"{INBOX}?.items && {titles('First')}")
        await tab.value(
            f"(() => {{ const one = {INBOX}; window.setInterval = (tick, ms) => {{ window.tick = tick; return 1 }};"
            " one.remove(); document.body.append(one) })()"
        )
        await tab.until(titles("First"))
        text = f"{ROOT_OF}.querySelector('time').textContent"
        created = f"Date.parse({ROOT_OF}.querySelector('time').dateTime)"
        await tab.value(f"(() => {{ const at = {created} + 7200000; Date.now = () => at; tick() }})()")
        assert await tab.value(text) == "2 hours ago"
        await tab.value(f"(() => {{ const at = {created} - 7200000; Date.now = () => at; tick() }})()")
        assert await tab.value(text) == "now"  # nothing comes from the future: the device's clock is slow


async def test_it_comes_back_after_a_break_with_all_that_came_meanwhile() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        await tab.until(f"{INBOX}?.items && {badge('')}")
        item(served, "Before")
        await tab.until(titles("Before"))
        served.live.streams.lost()
        item(served, "Meanwhile")
        await tab.until(titles("Meanwhile", "Before"))
        item(served, "After")
        await tab.until(titles("After", "Meanwhile", "Before"))
        await tab.until(badge("3"))


async def test_after_many_breaks_there_is_one_stream() -> None:
    """(EventSource/eventsource#89: each break left one more connection, and everything came twice.)"""
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        await tab.until(f"{INBOX}?.items && {badge('')}")
        heard = "window.heard = 0; addEventListener('tocsin-notification', () => { window.heard += 1 })"
        await tab.value(heard)
        offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        for is_offline in (True, False) * 3:
            await tab.call("Network.emulateNetworkConditions", offline=is_offline, **offline)
            await tab.value("new Promise((done) => requestAnimationFrame(done))")
        await tab.value("for (let n = 0; n < 5; n++) dispatchEvent(new Event('online'))")
        item(served, "Once")
        await tab.until(f"{titles('Once')} && {badge('1')} && window.heard > 0")

        async def there_is_one() -> bool:
            return served.live.streams.open == 1

        await eventually(there_is_one)
        assert await tab.value("window.heard") == 1


async def test_focus_stays_in_the_panel_when_an_item_leaves_elsewhere() -> None:
    """(Automattic/wp-calypso#105392: whoever uses the keyboard was thrown out of the panel.)"""
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        item(served, "Old")
        leaving = item(served, "Leaving")
        await tab.until(f"{INBOX}?.items && {titles('Leaving', 'Old')}")
        await tab.value(f"{INBOX}.open()")
        focused = f"{ROOT_OF}.activeElement?.querySelector('h3')?.textContent"
        await tab.until(f"{focused} === 'Leaving'")
        served.inbox.mark(leaving, "archived")
        served.tell()
        await tab.until(f"{titles('Old')} && {focused} === 'Old'")


async def test_a_text_reads_in_its_own_direction_whatever_the_pages_is() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        item(served, "وصل طلبك")
        item(served, "Your parcel")
        await tab.until(f"{INBOX}?.items && {badge('2')}")
        directions = f"[...{ROOT_OF}.querySelectorAll('article h3')].map((each) => getComputedStyle(each).direction)"
        await tab.until(f"{directions}.join() === 'ltr,rtl'")


async def test_a_long_inbox_is_read_as_one_scrolls() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        for number in range(70):
            item(served, f"No. {number}")
        await tab.until(f"{INBOX}?.items?.length >= 20")
        await tab.value(f"{INBOX}.open()")
        await tab.until(
            f"(() => {{ const f = {ROOT_OF}.querySelector('.feed'); f.scrollTop = f.scrollHeight;"
            f" return {INBOX}.items.length === 70 }})()"
        )
        assert await tab.value(f"new Set({INBOX}.items.map((each) => each.id)).size") == 70


async def test_the_keyboard_alone_does() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
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


async def test_snoozing_waits_until_a_choice_is_pressed() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        item(served, "First")
        await tab.until(f"{INBOX}?.items && {badge('1')}")
        await tab.value(f"{INBOX}.open(); {button('Snooze')}.focus()")
        await tab.press("Enter")
        focused = f"{ROOT_OF}.activeElement.textContent"
        await tab.until(f"{focused} === 'For an hour'")
        await tab.press("Tab")
        await tab.until(f"{focused} === 'Until tomorrow'")
        assert served.inbox.page(snoozed="true")["notifications"] == []
        await tab.press("Enter")
        await tab.until(f"{titles()} && {badge('')}")
        assert len(served.inbox.page(snoozed="true")["notifications"]) == 1


async def test_a_button_of_the_panel_is_named_like_none_of_an_item() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        item(served, "First")
        await tab.until(f"{INBOX}?.items && {titles('First')}")
        names = "[...{}.querySelectorAll('{} button')].map((each) => each.ariaLabel ?? each.textContent)"
        panels = await tab.value(names.format(ROOT_OF, "header"))
        items = await tab.value(names.format(ROOT_OF, "article"))
        assert "Archive" in items
        assert len({*panels, *items}) == len(panels) + len(items)


# --- preferences


async def choosing(tab: Tab) -> None:
    """The panel is open, and the user's choices are on it."""
    await tab.until(f"{INBOX}?.items && {badge('')}")
    await tab.value(f"{INBOX}.open()")
    await press(tab, "Preferences", "header")
    await tab.until(box("orders/email"))


def box(name: str) -> str:
    return f"{ROOT_OF}.querySelector('input[name=\"{name}\"]')"


async def prefers(served: Served, document: dict[str, Any]) -> None:
    async def is_so() -> bool:
        return served.inbox.preferences == document

    await eventually(is_so)


def status(words: str) -> str:
    return f"{ROOT_OF}.querySelector('.status').textContent === {json.dumps(words)}"


async def test_what_a_user_chooses_is_in_their_preferences() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        served.inbox.preferences = {"event_types": {"order.late": {"email": True}}}
        await choosing(tab)
        groups = f"[...{ROOT_OF}.querySelectorAll('fieldset')]"
        assert await tab.value(f"{groups}.map((each) => each.innerText.split(/\\s*\\n\\s*/).join('|'))") == [
            "security|Always sent",
            "Orders <b>|Where your parcel is|Email|In the app",
            "other|In the app",
            "Everything|Push|Email|SMS|In the app",
        ]
        await tab.value(f"{box('orders/email')}.click()")
        await tab.until(status("Saved"))
        turned_off = {"categories": {"orders": {"email": False}}, "event_types": {"order.late": {}}}
        assert served.inbox.preferences == turned_off
        assert not await tab.value(f"{box('orders/email')}.checked")

        await tab.value(f"{box('/sms')}.click(); {box('orders/email')}.click()")  # faster than they are saved
        await prefers(served, {**turned_off, "channels": {"sms": False}, "categories": {"orders": {"email": True}}})
        assert await tab.value(f"!{box('/sms')}.checked && {box('orders/email')}.checked")
        await press(tab, "Back", "header")
        await tab.until(f"!{ROOT_OF}.querySelector('[role=feed]').parentElement.hidden")


async def test_the_keyboard_alone_turns_a_category_off() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        await choosing(tab)
        await tab.value(f"{button('Back', 'header')}.focus()")
        focused = f"{ROOT_OF}.activeElement"
        while await tab.value(f"{focused}.name") != "orders/email":
            await tab.press("Tab")
        await tab.press(" ")
        await tab.until(status("Saved"))
        assert served.inbox.preferences == {"categories": {"orders": {"email": False}}}
        assert await tab.value(f"{focused} === {box('orders/email')}")
        await tab.press("Escape")
        await tab.until(f"{ROOT_OF}.querySelector('.panel').hidden && {focused}.part.contains('bell')")


async def test_what_is_chosen_while_the_network_is_away_is_saved_when_it_is_back() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        await choosing(tab)
        offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        await tab.call("Network.emulateNetworkConditions", offline=True, **offline)
        await tab.value(f"{box('orders/email')}.click()")
        await tab.until(f"{ROOT_OF}.querySelector('.status').textContent.startsWith('Offline')")
        assert served.inbox.preferences == {}
        await tab.call("Network.emulateNetworkConditions", offline=False, **offline)
        await prefers(served, {"categories": {"orders": {"email": False}}})


async def test_what_is_refused_is_shown_as_it_is() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        await choosing(tab)
        cast(Any, served.inbox).take_command = refuse
        await tab.value(f"{box('orders/email')}.click()")
        await tab.until(f"{status(NOT_SAVED)} && {box('orders/email')}.checked")


NOT_SAVED = "Couldn't be saved"


def refuse(_: bytes) -> None:
    raise Problem(422, "not this one", "preferences")


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
async def test_axe_has_no_serious_findings_in_preferences_on_a_telephone(direction: str) -> None:
    async with opened(direction, POLICY) as (_, browser, url), browser.tab(url) as tab:
        await tab.call("Emulation.setDeviceMetricsOverride", width=320, height=640, deviceScaleFactor=1, mobile=False)
        await choosing(tab)
        inside = f"(() => {{ const panel = {ROOT_OF}.querySelector('.choices');"
        assert await tab.value(
            f"{inside} return panel.scrollWidth <= panel.clientWidth && panel.clientWidth > 200 }})()"
        )
        await tab.value(f"{INBOX}.labels = {{ email: 'E-Mail' }}")
        await tab.until(f"{ROOT_OF}.querySelector('.choices').innerText.includes('E-Mail')")
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            await tab.call("Emulation.setEmulatedMedia", features=features)
            assert await tab.serious_findings() == [], scheme


async def test_it_works_in_a_page_that_forbids_markup_and_styles() -> None:
    async with opened(policy=POLICY) as (served, browser, url), browser.tab(url) as tab:
        item(served, "First")
        await tab.until(f"{INBOX}?.items && {titles('First')}")
        await tab.until(badge("1"))
        await tab.value(f"{INBOX}.open()")
        assert await tab.value(f"getComputedStyle({ROOT_OF}.querySelector('.panel')).position") == "absolute"
        assert await tab.value(f"{ROOT_OF}.querySelector('.end').offsetHeight") == 1
        assert await tab.value(f"{ROOT_OF}.querySelector('.bell svg path').getTotalLength()") > 0


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
async def test_what_comes_runs_no_script_and_the_panel_stays_in_the_page(direction: str) -> None:
    async with opened(direction) as (served, browser, url), browser.tab(url) as tab:
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
async def test_axe_has_no_serious_findings_by_day_or_night(direction: str) -> None:
    async with opened(direction) as (served, browser, url), browser.tab(url) as tab:
        await tab.until(f"{INBOX}?.items && {badge('')}")
        for title in ("Old", "New"):
            item(served, title)
        await tab.until(badge("2"))
        await tab.value(f"{INBOX}.open()")
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            await tab.call("Emulation.setEmulatedMedia", features=features)
            assert await tab.serious_findings() == [], scheme


async def test_it_comes_back_when_the_network_does() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        name = item(served, "Before")
        await tab.until(f"{INBOX}?.items && {badge('1')}")
        offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        await tab.call("Network.enable")
        await tab.call("Network.emulateNetworkConditions", offline=True, **offline)
        await tab.until(f"{ROOT_OF}.querySelector('.status').textContent.startsWith('Offline')")
        await press(tab, "Mark as read")
        await tab.until(f"{INBOX}.items[0].read")
        item(served, "Meanwhile")
        assert not any(each["read"] for each in served.inbox.shown())
        assert await tab.value(titles("Before"))
        await tab.call("Network.emulateNetworkConditions", offline=False, **offline)
        await tab.until(f"{titles('Meanwhile', 'Before')} && {badge('1')}")
        assert [each["id"] for each in served.inbox.shown() if each["read"]] == [name]


async def test_a_connection_that_may_have_died_asleep_is_made_anew() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        item(served, "First")
        await tab.until(f"{INBOX}?.items && {badge('1')}")
        await tab.value(
            "window.sockets = []; window.WebSocket = class extends WebSocket {"
            " constructor(url) { super(url); sockets.push(this) } };"
            "window.sleep = () => { const now = Date.now() + 61000; Date.now = () => now;"
            " document.dispatchEvent(new Event('visibilitychange')) }; true"
        )
        await tab.value("document.dispatchEvent(new Event('visibilitychange')); sleep()")
        await tab.until("sockets.length === 1 && sockets[0].readyState === 1")
        await tab.value("dispatchEvent(new Event('offline'))")
        assert await tab.value("sockets[0].readyState") >= 2
        await tab.until("sockets.length === 2 && sockets[1].readyState === 1")


async def test_a_connection_that_died_while_one_looks_is_made_anew_and_nothing_is_missed() -> None:
    async with opened() as (served, browser, url), browser.tab(url) as tab:
        item(served, "First")
        await tab.until(f"{INBOX}?.items && {badge('1')}")
        await tab.value(
            "window.sockets = []; window.WebSocket = class extends WebSocket {"  # whose first one is deaf
            " constructor(url) { super(url); sockets.push(this) }"
            " set onmessage(hear) { super.onmessage = (said) => sockets.indexOf(this) && hear(said) } };"
            f" (() => {{ const one = {INBOX}; window.setInterval = (tick) => {{ window.tick = tick; return 1 }};"
            " one.remove(); document.body.append(one) })()"
        )
        await tab.until("sockets.length === 1 && sockets[0].readyState === 1")
        item(served, "Second")
        await tab.value("(() => { const at = Date.now() + 299000; Date.now = () => at; tick() })()")
        assert await tab.value("sockets.length") == 1
        await tab.value("(() => { const at = Date.now() + 2000; Date.now = () => at; tick() })()")
        await tab.until(f"sockets.length === 2 && {titles('Second', 'First')} && {badge('2')}")
        assert await tab.value("sockets[0].readyState") >= 2
