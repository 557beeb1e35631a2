"""The console's pages as a person uses them: by what is written on them."""

import re
from dataclasses import dataclass
from urllib.parse import urlencode

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, Page, expect

from tests.conftest import eventually

#: Until what was done is in ClickHouse, on a busy machine.
LIMIT_S = 120.0
_SERIOUS = ("serious", "critical")


class Console:
    """A window on the console. ``page``: what it shows."""

    def __init__(self, page: Page, gateway_url: str) -> None:
        self.page, self.gateway_url = page, gateway_url
        self.url = f"{gateway_url}/console"

    async def open(self, path: str = "", **query: str) -> None:
        response = await self.page.goto(f"{self.url}{path}{'?' if query else ''}{urlencode(query)}")
        assert response is not None
        assert response.status < 500, await self.page.content()

    async def sign_in(self, key: str) -> None:
        await self.open("/sign-in")
        await self.page.get_by_label("API key").fill(key)
        await self.button("Sign in").click()
        await self.page.wait_for_load_state()

    async def choose(self, name: str) -> None:
        """Goes to a page by the menu."""
        await self.page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        await self.has_heading(name)

    async def look_for(self, what: str) -> None:
        await self.page.get_by_role("search").get_by_label("Look for").fill(what)
        await self.page.keyboard.press("Enter")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def link(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("link", name=name)

    def section(self, heading: str) -> Locator:
        return self.page.locator("section").filter(has=self.page.get_by_role("heading", name=heading))

    async def has_heading(self, name: str) -> None:
        await expect(self.page.get_by_role("heading", level=1)).to_contain_text(name)

    async def shows(self, text: str | re.Pattern[str]) -> None:
        await expect(self.page.get_by_text(text).first).to_be_visible()

    async def says(self, text: str) -> None:
        """What was done, or why it was not."""
        await expect(self.page.locator("[role=status], [role=alert]").first).to_contain_text(text)

    async def confirm(self, *words: str) -> None:
        """Does it, after reading what it would do."""
        for each in words:
            await expect(self.page.get_by_role("main")).to_contain_text(each)
        await self.button("Do it").click()

    async def reload_until(self, locator: Locator) -> Locator:
        """Opens the page again until it has this; events take a moment to get into ClickHouse."""

        async def is_there() -> bool:
            if await locator.count():
                return True
            await self.page.reload()
            return bool(await locator.count())

        await eventually(is_there, LIMIT_S)
        return locator

    # --- what holds for every page ---

    async def serious_findings(self, *rules: str) -> list[str]:
        """What axe-core finds of an impact that keeps somebody from using the page. ``rules``: only of these."""
        options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
        results = await Axe().run(self.page, options=options)
        return [
            f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes']][:3]}"
            for each in results.response["violations"]
            if each["impact"] in _SERIOUS
        ]

    async def scrolls_sideways(self) -> bool:
        return bool(await self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


@dataclass(frozen=True, slots=True)
class Providers:
    console: Console

    def row(self, name: str) -> Locator:
        table = self.console.page.locator("table").first
        return table.get_by_role("row").filter(has=self.console.page.get_by_role("cell", name=name, exact=True))

    async def pause(self, name: str, why: str) -> None:
        await self.row(name).get_by_placeholder("Why").fill(why)
        await self.row(name).get_by_role("button", name="Pause").click()
        await self.console.confirm(f"No worker calls {name} any more")

    async def resume(self, name: str) -> None:
        await self.row(name).get_by_role("button", name="Resume").click()
        await self.console.confirm(f"Workers call {name} again")

    async def becomes(self, name: str, state: str) -> None:
        await self.console.reload_until(self.row(name).locator(f".state.{state}"))


@dataclass(frozen=True, slots=True)
class Outages:
    console: Console

    async def count_the_latest(self, channel: str) -> None:
        """From what the page has found by itself to a dry run."""
        outage = self.console.section("Outages of the last 7 days").get_by_role("row").filter(has_text=channel)
        row = (await self.console.reload_until(outage)).first
        await row.get_by_role("link", name="Count what an outage cost").click()
        await self.console.button("Count (nothing is sent)").click()


@dataclass(frozen=True, slots=True)
class Replay:
    console: Console

    async def is_done(self) -> None:
        """It renews itself."""
        await expect(self.console.page.locator(".state.done").first).to_be_visible(timeout=LIMIT_S * 1000)

    async def count_of(self, heading: str, what: str) -> int:
        cell = self.console.section(heading).get_by_role("row").filter(has_text=what).locator("td.n")
        return int(await cell.inner_text()) if await cell.count() else 0

    async def begin(self) -> None:
        await self.console.button("Replay this").click()


@dataclass(frozen=True, slots=True)
class Letter:
    console: Console

    async def open_latest(self) -> None:
        await self.console.page.locator('main a[href^="/console/dead/"]').first.click()
        await self.console.has_heading("Dead letter")

    async def correct(self, before: str, after: str) -> None:
        record = self.console.page.get_by_label("Correct it")
        await record.fill((await record.input_value()).replace(before, after))
        await self.console.button("Put back as corrected").click()


@dataclass(frozen=True, slots=True)
class Policy:
    console: Console

    async def change(self, before: str, after: str) -> None:
        text = self.console.page.get_by_label("Change it")
        value = await text.input_value()
        assert before in value, value
        await text.fill(value.replace(before, after, 1))
        await self.console.button("Check and show the difference").click()

    async def compare(self, since: str) -> None:
        """Until there is a result."""
        section = self.console.section("What it would have changed")
        await section.get_by_label("The last").select_option(since)
        await section.get_by_role("button", name="Compare").click()
        await expect(section.locator("#compared")).to_contain_text("users in the last", timeout=LIMIT_S * 1000)


@dataclass(frozen=True, slots=True)
class Query:
    console: Console

    async def run(self, sql: str) -> None:
        await self.console.page.get_by_label("SQL").fill(sql)
        await self.console.button("Run").click()

    async def put_back(self, sql: str) -> None:
        await self.console.section("Your latest queries").get_by_role("link", name=sql).click()
        await expect(self.console.page.get_by_label("SQL")).to_have_value(sql)

    async def download(self) -> str:
        async with self.console.page.expect_download() as waiting:
            await self.console.link("Download CSV").click()
        return (await (await waiting.value).path()).read_text()


@dataclass(frozen=True, slots=True)
class Outlook:
    """On a user's page: what would happen if something were sent now."""

    console: Console

    async def ask(self, event_type: str, channels: str) -> None:
        section = self.console.section("What would happen")
        await section.get_by_label("Event type").fill(event_type)
        await section.get_by_label("Channels").fill(channels)
        await section.get_by_role("button", name="Ask").click()

    async def says(self, channel: str, words: str) -> None:
        summary = self.console.section("What would happen").locator("summary").filter(has_text=channel)
        await expect(summary).to_contain_text(words)


@dataclass(frozen=True, slots=True)
class Dashboards:
    console: Console

    async def filter(self, label: str, value: str) -> None:
        await self.console.page.get_by_label(label).select_option(value)
        await self.console.button("Show").click()

    def panel(self, title: str) -> Locator:
        return self.console.section(title)
