"""docs/security.md names files and jars that are there, and a test for each promise."""

import re
from pathlib import Path

import pytest

from app.dev.kafka_jars import locked_jars

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
#: In the last column of its tables.
PROMISES = [line for line in PAGE.splitlines() if re.search(r"\| `(app|agents|schemas|tables)/[^|]*\|[^|]*\|$", line)]


def test_every_file_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`([\w./-]+\.(?:py|xml|yml|lock|txt|md)|Dockerfile)`", PAGE))

    assert len(named) > 50
    assert {name for name in named if not (ROOT / name).is_file()} == set()


def test_every_link_of_the_page_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", PAGE + (ROOT / "SECURITY.md").read_text()):
        assert (ROOT / "docs" / target).exists() or (ROOT / target).exists(), target


@pytest.mark.parametrize("promise", PROMISES)
def test_every_promise_has_a_test(promise: str) -> None:
    assert "`tests/" in promise.split("|")[-2]


def test_there_are_promises() -> None:
    assert len(PROMISES) > 15


def test_every_jar_is_listed_with_its_version() -> None:
    rows = dict(re.findall(r"^\| `([\w.-]+)` \| (.*) \|$", PAGE.split("The broker's jars")[1], re.MULTILINE))
    listed = {(group, *each.split(" ")) for group, jars in rows.items() for each in jars.split(", ")}

    assert listed == {(jar.group, jar.artifact, jar.version) for jar in locked_jars()}
