"""The views answer from states that are kept as events come in, and show what a count by hand of ``lifecycle FINAL``
shows: whatever comes twice, late or in another order, and wherever settling was broken off."""

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver import AsyncClient
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from app.config import Settings
from app.store.clickhouse import connect
from app.store.lifecycle_rows import COLUMNS, row_of
from app.store.migrations import FEEDS, Kept, feed, migrate, note
from app.store.settling import Settler
from schemas.instants import parse_ms
from tests.records import Record
from tests.unit.store.conftest import event, store
from tests.unit.store.history import BEGIN, SHOWN, Event, history

TABLES = ("lifecycle", *FEEDS, "settled_sends", "settled_calls", "delivery_counts", "reach_counts", "computed")
NOW = BEGIN + 20 * 86_400_000


def settler(settings: Settings, now_ms: int = NOW) -> Settler:
    async def connected() -> AsyncClient:
        return await connect(settings, database=None)

    return Settler(connected, Kept(), lambda: now_ms)


async def write(client: AsyncClient, events: Sequence[Event]) -> None:
    rows = [
        row_of(
            Record("notify_lifecycle", 0, at, parse_ms(e["occurred_at"]), e["user_id"].encode(), msgspec.json.encode(e))
        )
        for at, e in enumerate(events)
    ]
    await client.insert("notify.lifecycle", list(zip(*rows, strict=True)), column_names=COLUMNS, column_oriented=True)


async def view(client: AsyncClient, name: str) -> list[tuple[Any, ...]]:
    return _sorted((await client.query(f"SELECT * FROM notify.{name}")).result_rows)


def _sorted(table: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted((tuple(_utc(value) for value in row) for row in table), key=str)


def _utc(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


async def compare(client: AsyncClient, events: Sequence[Event]) -> None:
    found = await client.query("SELECT event_id FROM notify.lifecycle FINAL")
    there = {row[0] for row in found.result_rows}
    known = [e for e in events if e["event_id"] in there]
    for name, by_hand in SHOWN.items():
        assert await view(client, name) == _sorted(by_hand(known)), name


async def empty(client: AsyncClient) -> None:
    for table in TABLES:
        await client.command(f"TRUNCATE TABLE notify.{table}")


async def test_views_equal_a_count_by_hand_whatever_comes_twice_late_or_out_of_order(
    client: AsyncClient, settings: Settings
) -> None:
    loop = asyncio.get_running_loop()

    async def check(chance: random.Random) -> None:
        await empty(client)
        events = history(chance)
        queue = [*events, *chance.sample(events, len(events) // 3)]
        if chance.random() < 0.7:
            chance.shuffle(queue)
        mine = settler(settings)
        while queue:
            size = chance.randrange(len(events) // 4, len(events))
            batch, queue = queue[:size], queue[size:]
            await write(client, batch)
            if chance.random() < 0.3:
                await mine.step()
            if chance.random() < 0.2:  # the role was started anew
                await mine.close()
                mine = settler(settings)
        await compare(client, events)
        await mine.step()
        await mine.step()
        for noted in ("touched", "dirty_hours"):
            assert await client.command(f"SELECT count() FROM notify.{noted}") == 0
        await compare(client, events)
        await mine.close()

    @given(st.randoms(use_true_random=False))
    @_settings
    def run(chance: random.Random) -> None:
        asyncio.run_coroutine_threadsafe(check(chance), loop).result(120)

    await asyncio.to_thread(run)


_settings = limits(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))


async def test_an_insert_that_is_tried_again_feeds_the_states_that_a_kill_left_without_it(client: AsyncClient) -> None:
    row = row_of(Record("notify_lifecycle", 0, 0, BEGIN, b"u", msgspec.json.encode(event("sent", send_id="s"))))
    again = {"insert_deduplication_token": "t", "deduplicate_blocks_in_dependent_materialized_views": 1}
    await client.insert("notify.lifecycle", [row], column_names=COLUMNS, settings=again)
    for table in FEEDS:
        await client.command(f"TRUNCATE TABLE notify.{table}")
    await client.insert("notify.lifecycle", [row], column_names=COLUMNS, settings=again)

    assert await client.command("SELECT count() FROM notify.lifecycle") == 1
    assert [await client.command(f"SELECT count() > 0 FROM notify.{table}") for table in FEEDS] == [1] * len(FEEDS)


async def test_a_feed_that_another_version_made_is_made_anew(client: AsyncClient) -> None:
    former = feed("send_states", "notify.lifecycle").replace("answer", "'former'")
    for comment in ("", "of a version between"):
        await client.command(f"ALTER TABLE notify.feed_send_states MODIFY QUERY {former}")
        await client.command(f"ALTER TABLE notify.feed_send_states MODIFY COMMENT '{comment}'")
        await migrate(client, Kept())

        made = await client.command("SHOW CREATE TABLE notify.feed_send_states")
        assert "former" not in str(made)


async def test_a_sealed_hour_is_never_counted_anew(client: AsyncClient, settings: Settings) -> None:
    await store(client, event("accepted"), event("sent", 5, channel="email", send_id="s"))
    mine = settler(settings)
    await mine.step()
    before = {name: await view(client, name) for name in SHOWN}

    later = settler(settings, NOW + 800 * 86_400_000)
    await later.step()
    for table in ("lifecycle", "hour_events", "reached", "send_states"):
        await client.command(f"TRUNCATE TABLE notify.{table}")
    await store(client, event("sent", 6, channel="email", send_id="s"))
    for _ in range(2):
        shown = {name: await view(client, name) for name in SHOWN if name != "notifications"}
        assert shown == {name: rows for name, rows in before.items() if name != "notifications"}
        await later.step()
    await mine.close()
    await later.close()


async def test_rows_of_sends_without_an_end_go_when_they_have_one_or_are_old(
    client: AsyncClient, settings: Settings
) -> None:
    about: dict[str, Any] = {"channel": "email", "provider": "ses"}
    await store(client, *(event("opened", 5, send_id=send, user_id=send, **about) for send in ("ends", "open")))
    mine = settler(settings)
    await mine.step()
    await store(client, event("sent", 9, send_id="ends", user_id="ends", **about))
    await mine.step()
    await mine.close()
    open_rows = "SELECT count() FROM notify.settled_sends WHERE hour > now() + toIntervalYear(50)"

    tomorrow = settler(settings, NOW + 86_400_000)
    await tomorrow.step()
    assert await client.command(open_rows) == 1
    assert [(row[5], row[7]) for row in await view(client, "engagement")] == [(1, 2)]
    await tomorrow.close()
    years_later = settler(settings, NOW + 800 * 86_400_000)
    await years_later.step()
    assert await client.command(open_rows) == 0
    await years_later.close()


async def test_what_hides_a_row_stays_as_long_as_the_row_does(
    client: AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    about: dict[str, Any] = {"channel": "email", "provider": "ses", "send_id": "s"}
    await store(client, event("opened", 5, **about))
    mine = settler(settings)
    await mine.step()
    await store(client, event("sent", 9, **about))
    await mine.step()
    await mine.close()
    command = AsyncClient.command

    async def unmerged(self: AsyncClient, sql: str, *rest: Any, **named: Any) -> Any:
        """As ClickHouse answers while other merges hold the parts."""
        if not sql.startswith("OPTIMIZE"):
            return await command(self, sql, *rest, **named)
        if "optimize_throw_if_noop = 1" in sql:
            raise DatabaseError("nothing is merged", code=388)
        return ""

    monkeypatch.setattr(AsyncClient, "command", unmerged)
    tomorrow = settler(settings, NOW + 86_400_000)
    await tomorrow.step()
    await tomorrow.close()

    found = await client.query("SELECT live FROM notify.settled_sends FINAL WHERE hour > now() + toIntervalYear(50)")
    assert found.result_rows == [(False,)]


async def test_what_has_no_send_is_not_settled(client: AsyncClient, settings: Settings) -> None:
    await store(client, event("suppressed", 5, reason="no_channel"), event("suppressed", 6, channel="push"))
    mine = settler(settings)
    await mine.step()
    await mine.close()

    assert await client.command("SELECT count() FROM notify.settled_sends") == 0


async def test_earlier_events_are_backfilled_while_the_former_views_serve(
    client: AsyncClient, settings: Settings
) -> None:
    events = history(random.Random(5))
    await write(client, events[: len(events) // 2])
    for table in FEEDS:
        await client.command(f"TRUNCATE TABLE notify.{table}")
    await client.command("TRUNCATE TABLE notify.backfilled")
    await migrate(client, Kept())
    assert "FROM notify.lifecycle" in str(await client.command("SHOW CREATE TABLE notify.decisions"))
    assert await view(client, "decisions")

    mine = settler(settings)
    await mine.step()
    await write(client, events[len(events) // 2 :])

    await compare(client, events)
    await mine.close()


async def test_a_backfill_that_was_broken_off_goes_on_where_it_was(client: AsyncClient, settings: Settings) -> None:
    events = history(random.Random(6))
    await write(client, events)
    for table in (*FEEDS, "backfilled"):
        await client.command(f"TRUNCATE TABLE notify.{table}")
    made = "(SELECT *, rank FROM notify.lifecycle WHERE toDate(occurred_at) = '2026-10-31')"
    for table in FEEDS:  # which a process had made before it ended
        await client.command(f"INSERT INTO notify.{table} {feed(table, made)}")
    await note(client, "events of 2026-10-31")

    mine = settler(settings)
    await mine.step()
    await mine.step()
    await compare(client, events)
    await mine.close()
