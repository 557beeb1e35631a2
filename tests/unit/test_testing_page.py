"""docs/testing.md names tests that exist, and one for every sentence."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists() -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)\(", tests, re.MULTILINE))
    named = set(re.findall(r"`(test_\w+)`", PAGE))

    assert len(named) > 150
    assert named - there == set()


def test_every_sentence_has_a_test() -> None:
    rules = PAGE.split("## What the rules mean")[1].split("\n## ")[0]
    rows = [
        line for line in rules.splitlines() if line.startswith("| ") and not line.startswith(("| sentence", "| ---"))
    ]

    assert len(rows) > 80
    assert [row for row in rows if "`test_" not in row.rpartition(" | ")[2]] == []
