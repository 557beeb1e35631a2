"""The page of the dashboards: what it says is what the panels say, and every panel can be drawn."""

import random
import xml.etree.ElementTree as ET

from clickhouse_connect.driver import AsyncClient

from app.config import Settings
from app.defaults import dashboard_panels
from app.store.panels import expanded, listed
from app.store.queries import Answer, Queries
from dashboards.pictures import DOCS, page, picture
from tests.unit.store.history import history
from tests.unit.store.test_states import write

DASHBOARDS = dashboard_panels()["dashboards"]
_SVG = "{http://www.w3.org/2000/svg}"


def test_the_page_is_what_the_panels_make_with_a_picture_of_each_dashboard() -> None:
    assert (DOCS / "dashboards.md").read_text("utf-8") == page(DASHBOARDS)
    assert {path.name for path in (DOCS / "dashboards").iterdir()} == {f"{each['name']}.svg" for each in DASHBOARDS}


def test_a_picture_in_the_docs_shows_each_panel_of_its_dashboard_and_is_small() -> None:
    for dashboard in DASHBOARDS:
        path = DOCS / "dashboards" / f"{dashboard['name']}.svg"
        words = [each.text for each in ET.parse(path).iter(f"{_SVG}text")]  # it is ours
        assert {panel["title"] for panel in dashboard["panels"]} <= set(words)
        assert path.stat().st_size < 30_000


async def test_every_panel_is_drawn_with_what_it_found(client: AsyncClient, settings: Settings) -> None:
    await write(client, history(random.Random(3), 40))
    queries = Queries(settings)
    for dashboard in DASHBOARDS:
        for panel in dashboard["panels"]:
            sql = expanded(
                panel["sql"], "toDateTime(0)", "now() + INTERVAL 9 YEAR", lambda name: listed(["push", "orders"])
            )
            answer = await queries.run(sql)
            for found in (answer, Answer(answer.columns, answer.types, [], truncated=False)):
                root = ET.fromstring(picture([(panel, found)]))
                assert root.find(f"{_SVG}text").text == panel["title"]  # type: ignore[union-attr]
    await queries.close()


def test_what_a_user_named_is_text_in_a_picture() -> None:
    answer = Answer(("time", "what", "n"), ("", "", ""), [["2026-11-20", "<script>&", 3]], truncated=False)
    for kind in ("timeseries", "table"):
        drawn = picture([({"title": "a < b", "kind": kind}, answer)])

        assert "<script" not in drawn
        assert "<script>&" in [each.text for each in ET.fromstring(drawn).iter(f"{_SVG}text")]
