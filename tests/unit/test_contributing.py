"""What CONTRIBUTING.md and the glossary name exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("CONTRIBUTING.md", "docs/glossary.md")
_PATH = re.compile(r"`((?:agents|app|tables|schemas|tests|docs|examples)/[\w./-]*)`(?: \(`(\w+)`\))?")


def named() -> list[tuple[str, str]]:
    return [match for page in PAGES for match in _PATH.findall((ROOT / page).read_text())]


@pytest.mark.parametrize(("path", "name"), named())
def test_what_a_page_names_is_there(path: str, name: str) -> None:
    assert (ROOT / path).exists()
    if name:
        assert re.search(rf"^\s*((async )?def |class |){name}\b", (ROOT / path).read_text(), re.M)
