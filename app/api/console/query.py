"""A query over what happened, its result as a table or to take away."""

import csv
import io
from typing import Any

from aiohttp import web

from app.api.console.pages import Page, View
from app.api.problems import Problem

_SHOWN, _MOST = 500, 10_000
_EXAMPLES = (
    (
        "delivery by channel",
        "SELECT channel, status, sum(count) AS n FROM delivery_hourly WHERE hour > now() - INTERVAL 1 DAY "
        "GROUP BY ALL ORDER BY n DESC",
    ),
    (
        "latency",
        "SELECT hour, channel, provider, p50_ms, p99_ms FROM latency_hourly ORDER BY hour DESC LIMIT 50",
    ),
    (
        "why not sent",
        "SELECT channel, reason, cap, sum(count) AS n FROM decisions WHERE hour > now() - INTERVAL 1 DAY "
        "GROUP BY ALL ORDER BY n DESC",
    ),
)
#: A cell that a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


async def get(page: Page) -> web.StreamResponse:
    sql, found, problem = page.query("sql"), None, None
    if sql:
        try:
            found = await page.api.get("/v1/query", {"sql": sql, "limit": _SHOWN})
        except Problem as refused:
            problem = refused
    return page.render(
        "query", 200 if problem is None else problem.status, sql=sql, found=found, problem=problem, examples=_EXAMPLES
    )


async def as_csv(page: Page) -> web.StreamResponse:
    found = await page.api.get("/v1/query", {"sql": page.query("sql"), "limit": _MOST})
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(found["columns"])
    writer.writerows([[_cell(value) for value in row] for row in found["rows"]])
    headers = {"Content-Disposition": 'attachment; filename="query.csv"'}
    return web.Response(text=written.getvalue(), content_type="text/csv", headers=headers)


def _cell(value: Any) -> Any:
    """Text that nobody's spreadsheet runs."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


VIEWS = (View("GET", "/query", get), View("GET", "/query.csv", as_csv))
