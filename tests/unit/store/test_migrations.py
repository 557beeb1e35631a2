"""The schema is brought up to date, however often, and keeps what is there."""

import json

from clickhouse_connect.driver import AsyncClient

from app.store.migrations import Kept, migrate
from app.store.sql import names, statement
from tests.conftest import eventually
from tests.unit.store.conftest import event, store

_SENDS, _CAMPAIGNS = 100_000, 20


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


async def read_for_a_campaign(client: AsyncClient) -> int:
    """How many rows its engagement takes to read."""
    answer = await client.raw_query("SELECT sent FROM notify.engagement WHERE campaign_id = 'c7'", fmt="JSON")
    found = json.loads(answer)
    assert [int(row["sent"]) for row in found["data"]] == [_SENDS // _CAMPAIGNS]
    return int(found["statistics"]["rows_read"])


async def settle_many(client: AsyncClient) -> None:
    """One campaign after the other, a few hours each."""
    columns = "hour, campaign_id, recipient, row, has_send, channel, status, live, version"
    hour, campaign = "toDateTime('2026-11-01', 'UTC') + intDiv(number, 500) * 3600", _SENDS // _CAMPAIGNS
    await client.command(
        f"INSERT INTO notify.settled_sends ({columns}) SELECT {hour}, 'c' || intDiv(number, {campaign}), "
        f"number, number, true, 'push', 'sent', true, 1 FROM numbers({_SENDS})"
    )


async def test_a_campaigns_engagement_does_not_read_every_send(client: AsyncClient) -> None:
    await settle_many(client)

    assert await read_for_a_campaign(client) < _SENDS / 4


async def test_what_was_settled_before_its_index_gets_it_while_views_answer(client: AsyncClient) -> None:
    """However often a process dies between the two statements."""
    await client.command("ALTER TABLE notify.settled_sends DROP INDEX of_campaign SETTINGS mutations_sync = 2")
    await client.command("ALTER TABLE notify.migrations DELETE WHERE name >= '0018' SETTINGS mutations_sync = 2")
    await settle_many(client)
    assert await read_for_a_campaign(client) >= _SENDS
    await client.command(statement("0018_campaign_index"))

    await migrate(client, Kept())

    async def is_indexed() -> bool:
        return await read_for_a_campaign(client) < _SENDS / 4

    await eventually(is_indexed, 60.0)
