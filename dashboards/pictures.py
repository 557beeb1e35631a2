"""Draws each dashboard's panels from the demo's data, and the page that shows them (``docs/dashboards.md``).

``.venv/bin/tocsin demo --folder FOLDER``, then ``.venv/bin/python -m dashboards.pictures FOLDER``.
"""

import asyncio
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from app.config import ClickHouse, Data, Settings
from app.defaults import dashboard_panels
from app.store.embedded import embedded_clickhouse
from app.store.panels import expanded, listed
from app.store.queries import Answer, Queries

DOCS: Final = Path(__file__).parents[1] / "docs"
_WIDTH, _MARGIN, _LABEL, _ROW = 860, 16, 250, 20
_BAR_WIDTH = _WIDTH - _LABEL - 130
_MOST_BARS, _MOST_ROWS, _CELL_CHARS = 10, 8, 24
_COLOUR = "#3b6ea8"
#: Of several moments these show the largest, others the sum.
_RATES = ("ms", "percentunit")

_ABOUT: Final = """
What each panel of [the dashboards](clickhouse.md#dashboards) answers, and how it looks after `make demo`. Grafana and
the [console](console.md) draw lines over the hours; the demo takes minutes, so here a bar stands for a line: its sum,
of times and shares its largest value. `python -m dashboards.pictures FOLDER` draws them anew from the folder of a demo
that has ended.
""".strip()


def picture(drawn: Sequence[tuple[Mapping[str, Any], Answer]]) -> str:
    """An SVG of a dashboard's panels, below each other."""
    parts: list[str] = []
    top = _MARGIN
    for panel, answer in drawn:
        parts.append(_text(_MARGIN, top + 14, panel["title"], weight="bold"))
        shapes, height = _bars(panel, answer, top + 26) if panel["kind"] == "timeseries" else _table(answer, top + 26)
        parts += shapes
        top += 26 + height + 22
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" viewBox="0 0 {_WIDTH} {top}" '
            'font-family="system-ui, sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            *parts,
            "</svg>",
            "",
        )
    )


def _bars(panel: Mapping[str, Any], answer: Answer, top: int) -> tuple[list[str], int]:
    """A bar for each series: the demo takes minutes, so a line over its hours would have a point or two."""
    found: dict[str, list[float]] = defaultdict(list)
    for _, *values in answer.rows:
        named = " ".join(str(value) for value in values if isinstance(value, str))
        for column, value in zip(answer.columns[1:], values, strict=True):
            if isinstance(value, int | float):
                found[named if named and len(values) == 2 else f"{named} {column}".strip()].append(value)
    of_all = max if panel.get("unit") in _RATES else sum
    bars = sorted(((of_all(values), name) for name, values in found.items()), reverse=True)[:_MOST_BARS]
    if not bars:
        return _nothing(top)
    most = max(bars[0][0], 1e-9)
    parts = []
    for number, (value, name) in enumerate(bars):
        y, width = top + number * _ROW, max(1.0, value / most * _BAR_WIDTH)
        parts.append(_text(_LABEL - 8, y + 13, name, anchor="end"))
        parts.append(f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="15" fill="{_COLOUR}"/>')
        parts.append(_text(_LABEL + width + 6, y + 13, _shown(value, panel.get("unit", ""))))
    return parts, _ROW * len(bars)


def _table(answer: Answer, top: int) -> tuple[list[str], int]:
    if not answer.rows:
        return _nothing(top)
    step = (_WIDTH - 2 * _MARGIN) / len(answer.columns)
    rows = [[_cell(value) for value in row] for row in answer.rows[:_MOST_ROWS]]
    parts = [_text(_MARGIN + n * step, top + 13, name, colour="#666") for n, name in enumerate(answer.columns)]
    for number, row in enumerate(rows, 1):
        room = max(6, int(step / 6.5))
        parts += [_text(_MARGIN + n * step, top + 13 + number * _ROW, cell[:room]) for n, cell in enumerate(row)]
    return parts, _ROW * (1 + len(rows))


def _nothing(top: int) -> tuple[list[str], int]:
    return [_text(_MARGIN, top + 14, "Nothing: the demo has none.", colour="#666")], _ROW


def _cell(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)
    return text[:_CELL_CHARS]


def _shown(value: float, unit: str) -> str:
    return f"{value:.1%}" if unit == "percentunit" else f"{value:,.0f} {unit}".strip()


def _text(
    x: float, y: float, text: str, *, weight: str = "normal", anchor: str = "start", colour: str = "black"
) -> str:
    style = f'font-weight="{weight}" text-anchor="{anchor}" fill="{colour}"'
    return f'<text x="{x:.0f}" y="{y:.0f}" {style}>{escape(text)}</text>'


def page(dashboards: Sequence[Mapping[str, Any]]) -> str:
    """The page in Markdown: each dashboard with its picture, and what question each panel answers."""
    parts = ["# Dashboards", _ABOUT]
    for dashboard in dashboards:
        title = str(dashboard["title"]).removeprefix("Tocsin: ")
        rows = "\n".join(f"| {panel['title']} | {panel['question']} |" for panel in dashboard["panels"])
        parts += [
            f"## {title[:1].upper()}{title[1:]}",
            f"| panel | answers |\n| --- | --- |\n{rows}",
            f"![{title}](dashboards/{dashboard['name']}.svg)",
        ]
    return "\n\n".join(parts) + "\n"


async def draw(folder: Path, docs: Path = DOCS) -> None:
    """``folder``: of a demo that has ended, absolute."""
    source, data = dashboard_panels(), folder / "data"
    settings = Settings(clickhouse=ClickHouse(url=f"chdb://{data}/clickhouse"), data=Data(dir=data))
    queries = Queries(settings)
    begin, end = "toDateTime(0)", "toDateTime(4000000000)"
    (docs / "dashboards").mkdir(exist_ok=True)
    async with embedded_clickhouse(data / "clickhouse", data):
        chosen = {
            name: [row[0] for row in (await queries.run(expanded(each["sql"], begin, end, str))).rows]
            for name, each in source["variables"].items()
        }
        for dashboard in source["dashboards"]:
            drawn = [
                (
                    panel,
                    await queries.run(expanded(panel["sql"], begin, end, lambda name: listed(chosen[name] or [""]))),
                )
                for panel in dashboard["panels"]
            ]
            (docs / "dashboards" / f"{dashboard['name']}.svg").write_text(picture(drawn), "utf-8")
    await queries.close()
    (docs / "dashboards.md").write_text(page(source["dashboards"]), "utf-8")


if __name__ == "__main__":
    asyncio.run(draw(Path(sys.argv[1]).resolve()))
