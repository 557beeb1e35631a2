"""Pages that renew themselves, in a browser, from a gateway in this process: while they do, and when it goes away."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page, expect

from app.api.console.comparing import Comparing
from app.store.queries import Answer
from tests.e2e.browser.pages import Console, Policy, Query
from tests.unit.api.test_console_comparing import found
from tests.unit.api.test_console_hostile import KEY, operating

pytestmark = pytest.mark.asyncio(loop_scope="package")

#: Says how far it is, and goes on once somebody has seen it: its standard input closes with the gateway.
_HALF = 'import sys; print(\'{"done": 500, "total": 1000}\', file=sys.stderr, flush=True); sys.stdin.read()'
_WHOLE = f"print({json.dumps(json.dumps(found()))})"


class Hours:
    """ClickHouse: something of two hours, whatever is asked."""

    async def run(self, sql: str, limits: Any, values: Any = None) -> Answer:
        rows = [[f"2026-03-01 {hour}:00:00", hour] for hour in (10, 11)]
        return Answer(("hour", "n"), ("DateTime", "UInt64"), rows, False)


@asynccontextmanager
async def operator(browser: Browser, program: str = "", **more: Any) -> AsyncIterator[tuple[Page, TestServer]]:
    """Somebody at work, and the gateway. ``program``: run in place of ``tocsin simulate``."""
    comparing = Comparing((sys.executable, "-c", program))
    async with operating(comparing=comparing, **more) as (client, _, _):
        context = await browser.new_context(timezone_id="Asia/Kolkata", locale="en-GB")
        page = await context.new_page()
        await Console(page, str(client.make_url("")).rstrip("/")).sign_in(KEY)
        yield page, client.server
        await context.close()
    await comparing.close()


async def _compare(page: Page) -> None:
    console = Console(page, "")
    await console.choose("Policy")
    await Policy(console).change("limit: 50", "limit: 1")
    await console.button("Compare").click()


async def test_a_comparison_shows_its_progress_and_then_its_result(browser: Browser) -> None:
    async with operator(browser, _HALF) as (page, _):
        await _compare(page)
        await expect(page.locator("#compared")).to_contain_text("500 of 1000 records", timeout=60_000)
    async with operator(browser, _WHOLE) as (page, _):
        await _compare(page)
        await Policy(Console(page, "")).compare("1h")
        await expect(page.locator("#compared .bars")).to_be_visible()
        await expect(page.locator("#compared [hx-get]")).to_have_count(0)  # (it no longer asks)
        assert await Console(page, "").serious_findings() == []


async def test_a_page_says_when_its_gateway_no_longer_answers(browser: Browser) -> None:
    async with operator(browser, _HALF) as (page, server):
        await _compare(page)
        await expect(page.locator("#compared")).to_contain_text("500 of 1000 records", timeout=60_000)
        await expect(page.locator("#away")).to_be_hidden()
        await server.close()
        await expect(page.locator("#away")).to_be_visible(timeout=60_000)


async def test_times_below_a_chart_are_the_viewers_and_point_to_utc(browser: Browser) -> None:
    async with operator(browser, queries=Hours()) as (page, _):
        await Console(page, "").choose("Query")
        await Query(Console(page, "")).run("SELECT 1")
        tick = page.locator("svg text.x").first
        shown, utc = await tick.evaluate("tick => [tick.firstChild.data, tick.querySelector('title').textContent]")

    assert utc == "03-01 10:00 UTC"
    assert shown.endswith("15:30")  # in Kolkata


async def test_a_query_that_ran_is_put_back_by_one_click_and_not_run(browser: Browser) -> None:
    async with operator(browser, queries=Hours()) as (page, _):
        console, query = Console(page, ""), Query(Console(page, ""))
        await console.choose("Query")
        await query.run("SELECT 'the first' AS n")
        await query.run("SELECT 'the second' AS n")
        await query.put_back("SELECT 'the first' AS n")

        await expect(page.get_by_role("table")).to_have_count(0)
