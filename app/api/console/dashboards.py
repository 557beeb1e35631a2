"""The analysts' dashboards: what Grafana's ask (``app/defaults/panels.toml``), with the same filters."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from aiohttp import web

from app.api.console.charts import lines
from app.api.console.pages import Page, View, link, quoted, text
from app.api.problems import Problem
from app.defaults import dashboard_panels

#: By name, hours.
RANGES: Final = {"1h": 1, "24h": 24, "7d": 168, "30d": 720}
_RANGE = "24h"
_MOST_ROWS, _MOST_CHOICES = 1000, 200
_TIME = re.compile(r"\$__timeFilter\(((?:[^()]|\([^()]*\))*)\)")


def expanded(sql: str, hours: int, chosen: Mapping[str, Sequence[str]]) -> str:
    """A panel's SQL as it is run: of the last hours, with the values of its variables."""
    sql = _TIME.sub(rf"(\1 >= now() - INTERVAL {hours} HOUR AND \1 <= now())", sql)
    for name, values in chosen.items():
        sql = sql.replace(f"${{{name}:singlequote}}", ", ".join(quoted(value) for value in values) or "''")
    return sql.strip()


async def get(page: Page) -> web.StreamResponse:
    """The page at once, its panels as they come."""
    dashboard = _dashboard(page.query("name") or _all()["dashboards"][0]["name"])
    hours, choices = _hours(page), await _choices(page, dashboard)
    chosen = {name: page.query(name) for name in dashboard["variables"]}
    query = {"name": dashboard["name"], "range": page.query("range"), **chosen}
    return page.render(
        "dashboards",
        dashboards=[(each["name"], _title(each)) for each in _all()["dashboards"]],
        dashboard=dashboard,
        title=_title(dashboard),
        panels=[
            (panel, link("/dashboards/panel", **query, number=str(number)))
            for number, panel in enumerate(dashboard["panels"])
        ],
        choices=[(name, _all()["variables"][name]["label"], choices[name]) for name in dashboard["variables"]],
        chosen=chosen,
        ranges=list(RANGES),
        range=next(name for name, each in RANGES.items() if each == hours),
    )


async def panel(page: Page) -> web.StreamResponse:
    dashboard = _dashboard(page.query("name"))
    number = page.query("number")
    if not number.isdecimal() or len(number) > 3 or int(number) >= len(dashboard["panels"]):
        raise Problem(404, text("gone"), "number")
    asked = dashboard["panels"][int(number)]
    chosen = {name: [page.query(name)] for name in dashboard["variables"] if page.query(name)}
    if len(chosen) < len(dashboard["variables"]):
        chosen = {**await _choices(page, dashboard), **chosen}
    sql = expanded(asked["sql"], _hours(page), chosen)
    found = await page.api.get("/v1/query", {"sql": sql, "limit": _MOST_ROWS})
    drawn = asked["kind"] == "timeseries" and found["rows"]
    return page.render(
        "dashboard_panel",
        panel=asked,
        sql=sql,
        found=found,
        chart=lines(*_series(found["columns"], found["rows"])) if drawn else None,
    )


def _series(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[list[str], dict[str, dict[str, float]]]:
    """(moments, each series by its name: values by moment). Columns of text after the first name the series."""
    found: dict[str, dict[str, float]] = {}
    for at, *values in rows:
        named = [str(value) for value in values if isinstance(value, str)]
        for column, value in zip(columns[1:], values, strict=True):
            if isinstance(value, int | float):
                found.setdefault(" ".join(named) or column, {})[str(at)] = float(value)
    return sorted({str(row[0]) for row in rows}), found


async def _choices(page: Page, dashboard: Mapping[str, Any]) -> dict[str, list[str]]:
    """The values of each of its variables; none where ClickHouse can't be asked just now."""
    hours, names = _hours(page), dashboard["variables"]

    async def of(name: str) -> list[str]:
        sql = expanded(_all()["variables"][name]["sql"], hours, {})
        try:
            found = await page.api.get("/v1/query", {"sql": sql, "limit": _MOST_CHOICES})
        except Problem as problem:
            if problem.status == 403:
                raise
            return []
        return [str(row[0]) for row in found["rows"]]

    return dict(zip(names, await asyncio.gather(*(of(name) for name in names)), strict=True))


def _hours(page: Page) -> int:
    """Raises Problem."""
    name = page.query("range") or _RANGE
    if name not in RANGES:
        raise Problem(400, f"is none of {', '.join(RANGES)}", "range")
    return RANGES[name]


def _dashboard(name: str) -> dict[str, Any]:
    found: dict[str, Any] | None = next((each for each in _all()["dashboards"] if each["name"] == name), None)
    if found is None:
        raise Problem(404, text("gone"), "name")
    return found


def _title(dashboard: Mapping[str, Any]) -> str:
    title = str(dashboard["title"]).removeprefix("Tocsin: ")
    return title[:1].upper() + title[1:]


@cache
def _all() -> dict[str, Any]:
    return dashboard_panels()


VIEWS = (View("GET", "/dashboards", get), View("GET", "/dashboards/panel", panel))
