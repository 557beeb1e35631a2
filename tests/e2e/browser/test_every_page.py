"""What holds for every page: for whoever can't see it well, has no mouse, holds a telephone, or works at night."""

from collections.abc import Mapping
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import expect

from app.api.console.pages import MENU
from app.api.console.texts import TEXTS
from schemas.topics import EVENTS
from tests.e2e.browser.conftest import SCREENSHOTS, Window
from tests.e2e.rules.world import HELLO, World

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def pages(world: World) -> Mapping[str, str]:
    """Every page by a name, with something on it."""
    person = await world.awake("android", "ios")
    sent = await world.ask(person, "order.shipped", channels=["push", "email", "in_app"])
    for channel in ("push", "email", "in_app"):
        await world.end_of(sent, channel)
    before = len(world.dead)
    await world.produce(EVENTS, person.user_id, {"user_id": person.user_id, "event_type": "not a type"})
    await world.until(lambda: len(world.dead) > before)
    letter = (await world.api("GET", "/v1/dead?limit=1"))["letters"][0]
    span = {"channel": "push", "from": letter["at"][:14] + "00:00Z", "to": letter["at"]}
    replay = (await world.api("POST", "/v1/replays", **span, dry_run=True))["replay_id"]
    body: dict[str, Any] = {"event_type": "note.made", "content": HELLO, "channels": ["in_app"]}
    await world.api("POST", "/v1/campaigns", key="demo", campaign_id="everybody", user_ids=[person.user_id], **body)
    return {
        **dict(MENU),
        "notification": f"/notifications/{sent}?user_id={person.user_id}",
        "user": f"/users/{person.user_id}",
        "dashboard": "/dashboards?name=latency&range=7d",
        "campaign": "/campaigns/everybody?source=demo",
        "letter": f"/dead/{letter['id']}",
        "replay": f"/replays/{replay}",
        "template": "/templates/order_shipped",
        "result": "/query?sql=SELECT+*+FROM+notifications+LIMIT+3",
        "nothing": "/find?q=nobody-at-all",
    }


async def test_axe_has_no_serious_findings_by_day_or_night(pages: Mapping[str, str], window: Window) -> None:
    console, stranger, found = await window(), await window(key=None), {}
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for name, path in {**pages, "sign-in": "/sign-in"}.items():
        seen = stranger if name == "sign-in" else console
        await seen.page.emulate_media(color_scheme="light")
        await seen.open(path)
        await expect(seen.page.get_by_role("heading", level=1)).to_be_visible()
        await expect(seen.page.locator("[hx-trigger=load] > a")).to_have_count(0)  # (what comes by itself is there)
        await seen.page.screenshot(path=SCREENSHOTS / f"{name}-light.png")
        findings = await seen.serious_findings()
        await seen.page.emulate_media(color_scheme="dark")
        await seen.page.screenshot(path=SCREENSHOTS / f"{name}-dark.png")
        findings += await seen.serious_findings("color-contrast")
        if findings:
            found[name] = findings
    assert found == {}


async def test_a_telephone_400_px_wide_scrolls_no_page_sideways(pages: Mapping[str, str], window: Window) -> None:
    console = await window(width=400, height=800)
    wide = []
    for name, path in pages.items():
        await console.open(path)
        if await console.scrolls_sideways():
            wide.append(name)
    assert wide == []


async def test_by_keyboard_alone_every_page_is_reached(window: Window) -> None:
    console = await window()
    await console.has_heading("Overview")
    keyboard, focused = console.page.keyboard, console.page.locator(":focus")
    await keyboard.press("Tab")
    await expect(focused).to_have_text("Skip to the content")
    await keyboard.press("Tab")  # the name, and then each page of the menu
    for name, _ in MENU:
        await keyboard.press("Tab")
        await expect(focused).to_have_text(TEXTS[f"nav.{name}"])
    await keyboard.press("Enter")
    await console.has_heading(TEXTS[f"nav.{MENU[-1][0]}"])


async def test_times_are_the_viewers_and_point_to_utc(pages: Mapping[str, str], window: Window) -> None:
    console = await window()  # in Kolkata, 5:30 before UTC
    await console.open(pages["letter"])
    time = console.page.locator("time").first
    utc = (await time.get_attribute("title") or "").removesuffix(" UTC")
    shown = await time.inner_text()

    hour, minute = map(int, utc.split(" ")[1].split(":")[:2])
    later = hour * 60 + minute + 330
    assert shown.split(", ")[1][:5] == f"{later // 60 % 24:02}:{later % 60:02}", (utc, shown)
