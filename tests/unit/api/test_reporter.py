"""Opens and clicks are written beside the answers, whatever goes wrong with some of them."""

import asyncio
from typing import Any

import pytest

from app.api import reporter
from app.api.reporter import Reporter
from app.store.publisher import Outgoing, PublishError
from schemas.receipts import Receipt, encode_receipt


class Log:
    """Fails as often as it is told to, then takes everything."""

    def __init__(self, *fails: Exception) -> None:
        self._fails = list(fails)
        self.taken: list[Outgoing] = []

    async def publish_each(self, records: list[Outgoing]) -> list[tuple[int, int] | None]:
        if self._fails:
            raise self._fails.pop(0)
        self.taken += records
        return [(0, 0)] * len(records)


def a_receipt(number: int) -> Receipt:
    return Receipt(id=f"r{number}", occurred_at="2026-11-30T12:00:00Z", status="opened", user_id="u1")


async def written(log: Any, receipts: list[Receipt]) -> None:
    reports = Reporter(log, lambda: 0.0)
    await reports.start()
    for receipt in receipts:
        reports.report(receipt.id, receipt)
        await asyncio.wait_for(reports._waiting.join(), 60)
    await reports.close()


@pytest.mark.parametrize("error", [PublishError("away"), TimeoutError(), RuntimeError("a fault")])
async def test_what_fails_is_written_again_whatever_it_was(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter, "_PAUSE_S", 0.0)
    log = Log(error, error)
    await written(log, [a_receipt(1)])

    assert len(log.taken) == 1


async def test_one_that_can_not_be_written_ends_none_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def encoded(receipt: Receipt) -> bytes:
        if receipt.id == "r1":
            raise RuntimeError("a fault")
        return encode_receipt(receipt)

    monkeypatch.setattr(reporter, "encode_receipt", encoded)
    log = Log()
    await written(log, [a_receipt(1), a_receipt(2)])

    assert [record.key for record in log.taken] == [b"u1"]
