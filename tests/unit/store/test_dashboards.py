"""Grafana's dashboards: each panel's SQL answers, as a reader may ask it, and the JSON is what the panels make."""

import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from clickhouse_connect.driver import AsyncClient

from app.api.console import dashboards as console
from app.config import Settings
from app.defaults import dashboard_panels
from app.store import panels
from app.store.queries import Queries
from dashboards.make import FOLDER, dashboards, text
from tests.unit.store.history import history
from tests.unit.store.test_states import settler, write

#: Since before everything.
_HOURS = 400_000


def expanded(sql: str, chosen: Mapping[str, Sequence[Any]]) -> str:
    """As Grafana's ClickHouse plugin expands it; the range is wide."""
    sql = panels.expanded(sql, "toDateTime(0)", "toDateTime(4000000000)", lambda name: panels.listed(chosen[name]))
    assert "$" not in sql, sql
    return sql


def test_time_and_variables_are_expanded_and_values_quoted() -> None:
    sql = "SELECT a FROM t WHERE $__timeFilter(toDateTime(day, 'UTC')) AND b IN (${b:singlequote})\n"
    begin, end = "toDateTime(1)", "now()"

    assert panels.expanded(sql, begin, end, lambda name: panels.listed([name, "it's"])) == (
        "SELECT a FROM t WHERE (toDateTime(day, 'UTC') >= toDateTime(1) AND toDateTime(day, 'UTC') <= now()) "
        "AND b IN ('b', 'it\\'s')"
    )


async def test_every_panel_and_variable_answers_on_a_filled_database(client: AsyncClient, settings: Settings) -> None:
    await write(client, [e for seed in range(3) for e in history(random.Random(seed), 40)])
    queries = Queries(settings)
    source = dashboard_panels()
    for round_, settled in enumerate((False, True)):
        if settled:
            mine = settler(settings)
            await mine.step()
            await mine.close()
        chosen = {
            name: [row[0] for row in (await queries.run(expanded(variable["sql"], {}))).rows]
            for name, variable in source["variables"].items()
        }
        assert all(chosen.values()), round_
        for dashboard in source["dashboards"]:
            for panel in dashboard["panels"]:
                answer = await queries.run(expanded(panel["sql"], chosen))
                assert answer.rows, panel["title"]
                of_all = await queries.run(console.expanded(panel["sql"], _HOURS, {}))
                assert of_all.rows == answer.rows, panel["title"]
                if panel["kind"] == "timeseries":
                    assert answer.columns[0] == "time", panel["title"]
    await queries.close()


def test_the_json_in_the_folder_is_what_the_panels_make() -> None:
    made = {f"{name}.json": text(dashboard) for name, dashboard in dashboards().items()}

    assert {path.name: path.read_text("utf-8") for path in (FOLDER / "grafana").glob("*.json")} == made
    for each in made.values():
        ids = [panel["id"] for panel in json.loads(each)["panels"]]
        assert len(set(ids)) == len(ids)


def test_a_dashboard_has_the_variables_that_its_panels_use() -> None:
    for dashboard in dashboard_panels()["dashboards"]:
        used = {name for panel in dashboard["panels"] for name in re.findall(r"\$\{(\w+):", panel["sql"])}
        assert used == set(dashboard["variables"]), dashboard["name"]
