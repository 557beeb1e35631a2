"""The schema is brought up to date, however often, and keeps what is there."""

from clickhouse_connect.driver import AsyncClient

from app.store.migrations import Kept, migrate
from app.store.sql import names
from tests.unit.store.conftest import event, store


async def test_migrating_again_keeps_rows_and_applies_nothing_twice(client: AsyncClient) -> None:
    await store(client, event("accepted"))

    await migrate(client, Kept())

    applied = (await client.query("SELECT name FROM notify.migrations ORDER BY name")).result_rows
    assert [name for (name,) in applied] == names("0")
    assert await client.command("SELECT count() FROM notify.lifecycle") == 1


async def test_retention_follows_the_setting(client: AsyncClient) -> None:
    async def made() -> str:
        return str(await client.command("SELECT engine_full FROM system.tables WHERE name = 'lifecycle'"))

    assert "toIntervalDay(90)" in await made()
    await migrate(client, Kept(events=7))
    assert "toIntervalDay(7)" in await made()


async def test_rows_lie_in_partitions_of_a_day(client: AsyncClient) -> None:
    day = 24 * 3_600_000
    await store(client, event("accepted"), event("sent", 1), event("delivered", day))

    parts = await client.query(
        "SELECT partition, sum(rows) FROM system.parts WHERE active AND table = 'lifecycle' GROUP BY 1"
    )
    assert sorted(parts.result_rows) == [("2026-11-20", 2), ("2026-11-21", 1)]


async def test_rows_past_their_retention_are_dropped(client: AsyncClient) -> None:
    await store(client, event("sent", 1))
    old = "VALUES ('old', 'accepted', '2020-01-01')"
    await client.command(f"INSERT INTO notify.lifecycle (event_id, status, occurred_at) {old}")

    await client.command("OPTIMIZE TABLE notify.lifecycle FINAL")

    assert (await client.query("SELECT status FROM notify.lifecycle")).result_rows == [("sent",)]
