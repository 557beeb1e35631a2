"""What operators must know of each provider is in docs/operating.md."""

import re
from pathlib import Path

import pytest

from app.providers.registry import CLIENTS

_TEXT = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
_SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", _TEXT, re.MULTILINE | re.DOTALL))
_POINTS = ("Set", "Allow", "Limits", "In doubt", "Rotate")


@pytest.mark.parametrize("provider", CLIENTS)
def test_a_provider_says_what_it_needs_its_limits_its_doubts_and_its_keys(provider: str) -> None:
    assert [point for point in _POINTS if f"- **{point}**" not in _SECTIONS[provider]] == []


def test_the_inbox_which_nobody_calls_has_a_section_too() -> None:
    assert "inbox" in _SECTIONS
