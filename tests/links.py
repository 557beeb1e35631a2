"""Links of a gateway in tests, and what becomes of the opens and clicks that it reports."""

from collections.abc import Hashable
from typing import Any

from app.api.reporter import Reporter
from app.domain.links import Links, Tokens
from schemas.receipts import Receipt
from schemas.sends import Send
from tests.agents.stage import a_send

LINKS = Links("https://notify.example", Tokens(["the signing key of all tests"]))


class KeptReports(Reporter):
    """Keeps what it would write."""

    def __init__(self) -> None:
        super().__init__(None, lambda: 0.0)  # type: ignore[arg-type]
        self.receipts: list[Receipt] = []

    def report(self, what: Hashable, receipt: Receipt) -> None:
        self.receipts.append(receipt)


def a_mail(**changes: Any) -> Send:
    return a_send(**{"channel": "email", "category": "marketing", **changes})


def token_of(url: str) -> str:
    return url.rpartition("/")[2].removesuffix(".gif")
