"""A query over what happened, its result as a table or to take away."""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from app.api.console import history
from app.api.console.charts import Lines, Ranks, lines, ranked
from app.api.console.dashboards import series
from app.api.console.pages import Page, View
from app.api.problems import Problem
from app.store.bound_values import NAME, PREFIX

_SHOWN, _MOST = 500, 10_000
#: Columns of text that name a bar.
_MOST_NAMING = 3
_PARAMETER = re.compile(rf"\{{\s*({NAME})\s*:")
_MOST_VALUES = 20
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d.*)?$")
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
#: What a spreadsheet takes a cell for a formula by, perhaps behind blanks.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")


async def get(page: Page) -> web.StreamResponse:
    """``sql`` is run; ``draft``: a statement that is only put into its place."""
    sql, found, problem = page.query("sql"), None, None
    shown = sql or page.query("draft")
    values = values_of(shown, page.request.query)
    latest, cookie = history.of(page), None
    if sql:
        try:
            found = await page.api.get("/v1/query", {"sql": sql, "limit": _SHOWN, **values})
            latest, cookie = history.with_latest(page.api.deps.sessions, page.session, latest, sql)
        except Problem as refused:
            problem = refused
    response = page.render(
        "query",
        200 if problem is None else problem.status,
        sql=shown,
        values=values,
        found=found,
        drawn=drawn(found["columns"], found["rows"]) if found else None,
        problem=problem,
        examples=_EXAMPLES,
        latest=latest,
    )
    if cookie is not None:
        history.keep(page, response, cookie)
    return response


def values_of(sql: str, asked: Mapping[str, str]) -> dict[str, str]:
    """What a statement asks for as ``{name:Type}``, by the fields that hold it; empty where nothing is given yet."""
    names = list(dict.fromkeys(_PARAMETER.findall(sql)))[:_MOST_VALUES]
    return {f"{PREFIX}{name}": asked.get(f"{PREFIX}{name}", "") for name in names}


def drawn(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Lines | Ranks | None:
    """The picture of a result: of numbers over time, or of one number by what it is of; else None."""
    if is_over_time(rows):
        return lines(*series(columns, rows))
    number = _number_of(rows)
    if number is None:
        return None
    named = [[value for place, value in enumerate(row) if place != number and value is not None] for row in rows]
    labels = [" ".join(map(str, values)) for values in named]
    return ranked(columns[number], labels, [float(row[number] or 0) for row in rows])


def _number_of(rows: Sequence[Sequence[Any]]) -> int | None:
    """The only column of numbers, where the others are text, and few. Rows without a value count as 0."""
    if len(rows) < 2 or not 2 <= len(rows[0]) <= _MOST_NAMING + 1:
        return None
    kinds = [{_kind(value) for value in column} - {"none"} for column in zip(*rows, strict=True)]
    numbers = [place for place, kind in enumerate(kinds) if kind == {"number"}]
    named = all(kind <= {"text"} for place, kind in enumerate(kinds) if [place] != numbers)
    return numbers[0] if len(numbers) == 1 and named else None


def _kind(value: Any) -> str:
    if value is None:
        return "none"
    if _is_number(value):
        return "number" if math.isfinite(value) and value >= 0 else "other"
    return "text" if isinstance(value, str) else "other"


def is_over_time(rows: Sequence[Sequence[Any]]) -> bool:
    """Whether each row is of a moment and has a number: then they are drawn."""
    return len({str(row[0]) for row in rows if row}) > 1 and all(
        _MOMENT.match(str(row[0])) and any(_is_number(value) for value in row[1:]) for row in rows
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


async def as_csv(page: Page) -> web.StreamResponse:
    sql = page.query("sql")
    values = values_of(sql, page.request.query)
    found = await page.api.get("/v1/query", {"sql": sql, "limit": _MOST, **values})
    headers = {"Content-Disposition": 'attachment; filename="query.csv"'}
    return web.Response(text=as_text(found["columns"], found["rows"]), content_type="text/csv", headers=headers)


def as_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """As CSV that nobody's spreadsheet runs: a column's name may be anybody's text, too."""
    written = io.StringIO()
    csv.writer(written).writerows([_cell(value) for value in row] for row in (columns, *rows))
    return written.getvalue()


def _cell(value: Any) -> Any:
    is_formula = isinstance(value, str) and (value.startswith(_FORMULA) or value.lstrip().startswith(_FORMULA))
    return f"'{value}" if is_formula else value


VIEWS = (View("GET", "/query", get), View("GET", "/query.csv", as_csv))
