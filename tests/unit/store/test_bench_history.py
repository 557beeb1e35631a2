"""The history that the benchmark of analytics makes inside ClickHouse is one that the views can answer of."""

import asyncio

import pytest
from clickhouse_connect.driver import AsyncClient

from app.config import Settings
from bench.analytics import History, _questions
from faults.rollups import rolled_up
from tests.unit.store.test_states import NOW, settler

SENDS = 2_000


@pytest.fixture
async def filled(client: AsyncClient) -> AsyncClient:
    history = History(SENDS, NOW)
    for first in range(0, SENDS, SENDS // 4):
        await client.command(history.insert(first, SENDS // 4))
    return client


async def test_each_send_is_accepted_once_and_has_one_end(filled: AsyncClient) -> None:
    found = await filled.query(
        "SELECT count(), countIf(ended_at IS NOT NULL), countIf(accepted_at <= ended_at), uniqExact(notification_id), "
        "countIf(status = 'sent') / count(), countIf(opened_at IS NOT NULL) / count() FROM notify.notifications"
    )
    [[rows, ended, in_order, notifications, sent, opened]] = found.result_rows

    assert (rows, ended, in_order, notifications) == (SENDS, SENDS, SENDS, SENDS)
    assert 0.95 < sent < 1
    assert 0.2 < opened < 0.3


async def test_views_say_of_it_what_the_events_say(filled: AsyncClient, settings: Settings) -> None:
    mine = settler(settings)
    await mine.step()
    await mine.step()
    await mine.close()

    assert (await asyncio.to_thread(rolled_up, settings.data.dir))["value"] == 0


async def test_each_question_that_is_measured_can_be_asked(filled: AsyncClient) -> None:
    for name, sql in (await _questions(filled)).items():
        assert "$" not in sql, name
        await filled.query(sql, settings={"database": "notify"})
