"""The fault experiments' invariant ROLLUP: it holds of views that are right, and finds one that isn't."""

import asyncio
import random

import pytest
from clickhouse_connect.driver import AsyncClient

from app.config import Settings
from faults.rollups import COMPARED, rolled_up
from tests.unit.store.history import history
from tests.unit.store.test_states import settler, write
from tests.unit.store.test_views import VIEWS


async def found(settings: Settings) -> dict[str, str]:
    """By view, a difference."""
    verdict = await asyncio.to_thread(rolled_up, settings.data.dir)
    assert verdict["verdict"] == ("FAIL" if verdict["value"] else "pass")
    return {example.partition(":")[0]: example for example in verdict["examples"]}


@pytest.mark.parametrize("seed", range(3))
async def test_views_that_are_right_pass_before_and_after_they_are_settled(
    client: AsyncClient, settings: Settings, seed: int
) -> None:
    events = history(random.Random(seed), 30)
    await write(client, [*events, *events[: len(events) // 3]])
    assert await found(settings) == {}

    mine = settler(settings)
    await mine.step()
    await mine.step()
    await mine.close()
    assert await found(settings) == {}


#: A table of which a row is lost, and the view that no longer says the truth.
LOST = [
    ("settled_sends", "engagement"),
    ("settled_sends", "latency_hourly"),
    ("settled_sends", "slo_hourly"),
    ("settled_calls", "provider_hourly"),
    ("delivery_counts", "delivery_hourly"),
    ("delivery_counts", "decisions"),
    ("reach_counts", "users_reached"),
    ("send_states", "notifications"),
]


@pytest.mark.parametrize(("table", "view"), LOST)
async def test_a_state_that_is_lost_is_found(client: AsyncClient, settings: Settings, table: str, view: str) -> None:
    await write(client, history(random.Random(1), 30))
    mine = settler(settings)
    await mine.step()
    await mine.step()
    await mine.close()
    await client.command(f"TRUNCATE TABLE notify.{table}")

    assert view in await found(settings)


def test_every_compared_view_has_a_loss_that_is_found() -> None:
    assert {view for _, view in LOST} == set(COMPARED)


def test_every_view_is_compared() -> None:
    assert set(COMPARED) == set(VIEWS)


async def test_a_clickhouse_that_does_not_answer_is_a_finding(settings: Settings) -> None:
    (settings.data.dir / "analytics.json").write_text('{"url": "clickhouse://a:b@127.0.0.1:1/notify"}')

    assert list(await found(settings)) == ["ClickHouse can't be asked"]
