"""Every string and list has a limit, and the docs say which."""

from pathlib import Path
from typing import Any, get_args

import pytest

from schemas.commands import AnyCommand
from schemas.receipts import Receipt
from schemas.requests import Request
from tests.unit.schemas.limits import table, unbounded

RECORDS = Path(__file__).parents[3] / "docs" / "records.md"

#: Bounded by the size of what they are part of (content 256 KiB, a token 4 KiB).
BOUNDED_TOGETHER = {"content.title", "content.body", "content.subject", "content.html", "token"}


def test_the_docs_have_the_limits_that_the_schemas_have() -> None:
    text = RECORDS.read_text(encoding="utf-8")
    section = text.split("\n## Limits\n")[1].split("\n## ")[0]
    found = "\n".join(line for line in section.splitlines() if line.startswith("|"))
    assert found == table(), "print it anew: python -m tests.unit.schemas.limits"


@pytest.mark.parametrize("kind", [Request, Receipt, *get_args(AnyCommand)], ids=lambda kind: kind.__name__)
def test_every_string_and_list_that_others_write_has_a_limit(kind: Any) -> None:
    assert set(unbounded(kind)) <= BOUNDED_TOGETHER
