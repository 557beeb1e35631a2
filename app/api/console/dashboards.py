"""The analysts' dashboards: what Grafana's ask (``app/defaults/panels.toml``), with the same filters."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from aiohttp import web

from app.api.console.charts import lines
from app.api.console.pages import Page, View, link, text
from app.api.problems import Problem
from app.defaults import dashboard_panels
from app.store import panels
from app.store.panels import listed

#: By name, hours.
RANGES: Final = {"1h": 1, "24h": 24, "7d": 168, "30d": 720}
_RANGE = "24h"
_MOST_ROWS, _MOST_CHOICES = 10_000, 1000


def expanded(sql: str, hours: int, chosen: Mapping[str, str]) -> str:
    """A panel's SQL as it is run: of the last hours, with what was chosen. Of a variable where nothing was chosen it is
    all that the variable's own query finds, however many."""

    def values(name: str) -> str:
        return listed([chosen[name]]) if chosen.get(name) else expanded(_all()["variables"][name]["sql"], hours, {})

    return panels.expanded(sql, f"now() - INTERVAL {hours} HOUR", "now()", values)


async def get(page: Page) -> web.StreamResponse:
    """The page at once, its panels as they come."""
    dashboard = _dashboard(page.query("name") or _all()["dashboards"][0]["name"])
    variables = _all()["variables"]
    hours, problem, listed = _hours(page), None, dict[str, _Choices]()
    try:
        listed = await _choices(page, dashboard)
    except Problem as refused:  # the panels say so, too, and may do better
        problem = refused
    chosen = {name: page.query(name) for name in dashboard["variables"]}
    query = {"name": dashboard["name"], "range": page.query("range"), **chosen}
    return page.render(
        "dashboards",
        200 if problem is None else problem.status,
        problem=problem,
        dashboards=[(each["name"], _title(each)) for each in _all()["dashboards"]],
        dashboard=dashboard,
        title=_title(dashboard),
        panels=[
            (panel, link("/dashboards/panel", **query, number=str(number)))
            for number, panel in enumerate(dashboard["panels"])
        ],
        choices=[(name, variables[name]["label"], listed.get(name, _Choices(()))) for name in dashboard["variables"]],
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
    sql = expanded(asked["sql"], _hours(page), {name: page.query(name) for name in dashboard["variables"]})
    found = await page.api.get("/v1/query", {"sql": sql, "limit": _MOST_ROWS})
    drawn = asked["kind"] == "timeseries" and found["rows"]
    return page.render(
        "dashboard_panel",
        panel=asked,
        sql=sql,
        found=found,
        chart=lines(*series(found["columns"], found["rows"])) if drawn else None,
    )


def series(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[list[str], dict[str, dict[str, float]]]:
    """(moments, each series by its name: values by moment). Columns of text after the first name the series."""
    found: dict[str, dict[str, float]] = {}
    for at, *values in rows:
        named = [str(value) for value in values if isinstance(value, str)]
        for column, value in zip(columns[1:], values, strict=True):
            if isinstance(value, int | float):
                found.setdefault(" ".join(named) or column, {})[str(at)] = float(value)
    return sorted({str(row[0]) for row in rows}), found


@dataclass(frozen=True, slots=True)
class _Choices:
    """``truncated``: there are more."""

    values: Sequence[str]
    truncated: bool = False


async def _choices(page: Page, dashboard: Mapping[str, Any]) -> dict[str, _Choices]:
    """The values of each of its variables. Raises Problem."""
    hours, names = _hours(page), dashboard["variables"]

    async def of(name: str) -> _Choices:
        sql = expanded(_all()["variables"][name]["sql"], hours, {})
        found = await page.api.get("/v1/query", {"sql": sql, "limit": _MOST_CHOICES})
        return _Choices([str(row[0]) for row in found["rows"]], found["truncated"])

    return dict(zip(names, await asyncio.gather(*(of(name) for name in names)), strict=True))


def _hours(page: Page) -> int:
    """Raises Problem."""
    name = page.query("range") or _RANGE
    if name not in RANGES:
        raise Problem(400, f"is not one of {', '.join(RANGES)}", "range")
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
