"""Makes Grafana's dashboards (``dashboards/grafana/*.json``) of ``app/defaults/panels.toml``, as the console does its
own: ``python -m dashboards.make``."""

import json
from pathlib import Path
from typing import Any

from app.defaults import dashboard_panels

FOLDER = Path(__file__).parent
_DATASOURCE = {"type": "grafana-clickhouse-datasource", "uid": "${datasource}"}
_WIDTH, _HEIGHT = 24, 9
#: The plugin's numbers of what a query returns.
_FORMATS = {"timeseries": 0, "table": 1, "stat": 1}


def dashboards() -> dict[str, dict[str, Any]]:
    """Grafana's JSON of each dashboard, by its name."""
    source = dashboard_panels()
    return {each["name"]: _dashboard(each, source["variables"]) for each in source["dashboards"]}


def _dashboard(each: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    return {
        "uid": f"tocsin-{each['name']}",
        "title": each["title"],
        "tags": ["tocsin"],
        "timezone": "utc",
        "editable": True,
        "schemaVersion": 39,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "ClickHouse", "type": "datasource", "query": _DATASOURCE["type"]},
                *(_variable(name, variables[name]) for name in each["variables"]),
            ]
        },
        "panels": [_panel(number, panel) for number, panel in enumerate(each["panels"])],
    }


def _variable(name: str, variable: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "label": variable["label"],
        "type": "query",
        "datasource": _DATASOURCE,
        "query": variable["sql"],
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panel(number: int, panel: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": number + 1,
        "title": panel["title"],
        "description": panel["question"],
        "type": panel["kind"],
        "datasource": _DATASOURCE,
        "gridPos": {"x": 0, "y": number * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.get("unit", "short")}, "overrides": []},
        "targets": [
            {
                "refId": "A",
                "datasource": _DATASOURCE,
                "editorType": "sql",
                "queryType": panel["kind"] if panel["kind"] == "timeseries" else "table",
                "format": _FORMATS[panel["kind"]],
                "rawSql": panel["sql"].strip(),
            }
        ],
    }


def text(dashboard: dict[str, Any]) -> str:
    """As it lies in the folder."""
    return json.dumps(dashboard, indent=2) + "\n"


if __name__ == "__main__":
    for name, made in dashboards().items():
        (FOLDER / "grafana" / f"{name}.json").write_text(text(made), "utf-8")
