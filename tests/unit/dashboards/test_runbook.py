"""The runbook's commands are ones that exist, and so are the metrics that it looks at."""

import re
from pathlib import Path

import pytest

from app.cli import COMMANDS
from tests.unit.metrics.everything import labels_by_metric

PAGE = Path("docs/runbook.md").read_text()
#: Commands that are on their way.
COMING = {"dead", "replay", "provider"}


@pytest.mark.parametrize("command", sorted(set(re.findall(r"\btocsin ([a-z][a-z-]+)", PAGE))))
def test_each_command_exists(command: str) -> None:
    assert command in COMMANDS.keys() | COMING


def test_each_metric_that_it_looks_at_exists() -> None:
    known = labels_by_metric()
    named = set(re.findall(r"\btocsin_[a-z_]+[a-z]\b(?![(])", PAGE))
    groups = re.findall(r"tocsin_\(([a-z_|]+)\)", PAGE)
    named |= {f"tocsin_{name}" for group in groups for name in group.split("|")}

    assert groups
    assert {name for name in named if not any(full.startswith(name) for full in known)} == set()


@pytest.mark.parametrize("anchor", sorted(set(re.findall(r"\(#(\w+)\)", PAGE))))
def test_each_link_within_the_page_leads_somewhere(anchor: str) -> None:
    assert re.search(rf"^## {anchor}$", PAGE, re.MULTILINE | re.IGNORECASE)
