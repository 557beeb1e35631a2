"""Settling: what came in is folded and counted into the tables that the views answer from.

Each insert of events notes whose sends and which hours it touched (``touched``, ``dirty_hours``). The views fold those
anew at each question and take all else as it is settled here; so they are right at every moment, and fast once what was
noted is settled. A note goes only when what it is about is in place, so a process may end anywhere in between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import structlog
from clickhouse_connect.driver import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from app.store.clickhouse import Unavailable
from app.store.migrations import DONE, FEEDS, Kept, backfilled, feed, make_views, note, noted
from app.store.sql import quoted, statement

log = structlog.get_logger(__name__)

_PAUSE_S = 10.0
#: From one pass to the next: at least so long, and so many times as long as the pass took, but at most so long: where
#: much comes in, notes must not pile up.
_EVERY_S, _TIMES_AS_LONG, _AT_MOST_S = 5.0, 12.0, 60.0
#: Recipients that are folded, and hours that are counted, by one statement.
_RECIPIENTS_AT_ONCE, _HOURS_AT_ONCE = 100_000, 24
#: An insert may make a part for each month that it touches.
_SETTINGS = {"max_partitions_per_insert_block": 2000, "max_memory_usage": 400_000_000, "max_block_size": 8192}
#: Rows of sends that have come to no end, though something came back of them.
_OPEN = "hour = toDateTime('2100-01-01', 'UTC')"
_NO_SUCH_PART, _NOT_MERGED = 232, 388
_HASHES = 2**64

Connect = Callable[[], Awaitable[AsyncClient]]


class Settler:
    """One of a database may run: ``mine`` says whether it is this one."""

    def __init__(
        self, connect: Connect, kept: Kept, now_ms: Callable[[], int], mine: Callable[[], bool] = lambda: True
    ) -> None:
        self._connect = connect
        self._kept = kept
        self._now_ms = now_ms
        self._mine = mine
        self._client: AsyncClient | None = None
        self._version = 0
        #: Parts of notes that the pass before has settled: they go when queries that began before it are over.
        self._settled: dict[str, set[str]] = {"touched": set(), "dirty_hours": set()}

    async def run(self, stop: asyncio.Event) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while not stop.is_set():
                began = clock()
                pause = _PAUSE_S
                try:
                    if self._mine():
                        await self.step()
                        pause = min(max(_EVERY_S, _TIMES_AS_LONG * (clock() - began)), _AT_MOST_S)
                except (Unavailable, ClickHouseError) as error:
                    log.warning("can't settle what came in: retrying", again_in_s=pause, error=str(error)[:500])
                    await self.close()
                except Exception:
                    log.exception("can't settle what came in: retrying", again_in_s=pause)
                    await self.close()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)
        finally:
            await self.close()

    async def step(self) -> None:
        """Settles what is noted now; what the step before has settled is no longer noted. Raises ClickHouseError,
        Unavailable."""
        if self._client is None:
            self._client = await self._connect()
        client = self._client
        if not await backfilled(client):
            await self._backfill(client)
        for table, settle in (("touched", self._settle_touched), ("dirty_hours", self._count_dirty)):
            await self._forget(client, table)
            parts = await self._parts(client, table)
            if parts:
                await settle(client, parts)
                self._settled[table] = set(parts)
        await self._seal(client)

    # --- what is noted ---

    async def _parts(self, client: AsyncClient, table: str) -> list[str]:
        sql = f"SELECT name FROM system.parts WHERE database = 'notify' AND table = '{table}' AND active ORDER BY name"
        return [row[0] for row in (await client.query(sql)).result_rows]

    async def _forget(self, client: AsyncClient, table: str) -> None:
        for part in sorted(self._settled[table]):
            try:
                await client.command(f"ALTER TABLE notify.{table} DROP PART {quoted(part)}")
            except ClickHouseError as error:
                if getattr(error, "code", None) != _NO_SUCH_PART:  # it was merged: what it noted is settled once more
                    raise
        self._settled[table] = set()

    # --- sends ---

    async def _settle_touched(self, client: AsyncClient, parts: Sequence[str]) -> None:
        these = f"_part IN ({', '.join(map(quoted, parts))})"
        count = int(str(await client.command(f"SELECT uniq(recipient) FROM notify.touched WHERE {these}")))
        for first, last in _ranges(count):
            within = f"recipient BETWEEN {first} AND {last}"
            whose = f"recipient IN (SELECT recipient FROM notify.touched WHERE {these} AND {within}) AND {within}"
            await self._settle(client, whose)

    async def _settle(self, client: AsyncClient, whose: str) -> None:
        """Folds some recipients anew. Where one that had come to no end was, nothing is left."""
        sealed = f"hour >= {await self._sealed(client, 'sealed_sends')}"
        columns = ", ".join(_SETTLED)
        version = await self._next_version(client)
        await _insert(
            client,
            f"INSERT INTO notify.settled_sends ({columns}) SELECT * REPLACE (false AS live, {version} AS version) "
            f"FROM (SELECT {columns} FROM notify.settled_sends FINAL WHERE {_OPEN} AND live AND ({whose}))",
        )
        version = await self._next_version(client)
        folded = statement("outcomes_folded", whose=whose)
        picked = ", ".join(name if name != "version" else str(version) for name in _SETTLED)
        await _insert(
            client,
            f"INSERT INTO notify.settled_sends ({columns}) SELECT {picked} FROM ({folded}) WHERE {sealed}",
        )
        columns = ", ".join(_CALLS)
        picked = ", ".join(name if name != "version" else str(version) for name in _CALLS)
        folded = statement("calls_folded", whose=whose)
        await _insert(
            client, f"INSERT INTO notify.settled_calls ({columns}) SELECT {picked} FROM ({folded}) WHERE {sealed}"
        )

    # --- hours and days ---

    async def _count_dirty(self, client: AsyncClient, parts: Sequence[str]) -> None:
        these = f"_part IN ({', '.join(map(quoted, parts))})"
        sealed = await self._sealed(client, "sealed")
        found = await client.query(
            "SELECT DISTINCT toUnixTimestamp(hour) FROM notify.dirty_hours "
            f"WHERE {these} AND hour >= {sealed} ORDER BY 1"
        )
        await self._count(client, [row[0] for row in found.result_rows])

    async def _count(self, client: AsyncClient, hours: Sequence[int]) -> None:
        """Counts whole hours, in Unix s, and their days."""
        for at in range(0, len(hours), _HOURS_AT_ONCE):
            some = ", ".join(map(str, hours[at : at + _HOURS_AT_ONCE]))
            version = await self._next_version(client)
            await _insert(
                client,
                "INSERT INTO notify.delivery_counts SELECT hour, channel, provider, category, event_type, source, "
                f"campaign_id, status, reason, cap, count(), {version} FROM notify.hour_events FINAL "
                f"WHERE hour IN ({some}) GROUP BY ALL",
            )
            await self._computed(client, "hour", hours[at : at + _HOURS_AT_ONCE], version)
        for day in sorted({hour // 86_400 for hour in hours}):
            version = await self._next_version(client)
            await _insert(
                client,
                "INSERT INTO notify.reach_counts SELECT day, category, channel, countIf(what = 'user'), "
                f"countIf(what = 'notification'), countIf(what = 'opted_out'), {version} FROM notify.reached FINAL "
                f"WHERE day = toDate({day}) GROUP BY ALL",
            )
            await self._computed(client, "day", [day * 86_400], version)

    async def _computed(self, client: AsyncClient, what: str, at: Sequence[int], version: int) -> None:
        values = ", ".join(f"('{what}', {each}, {version})" for each in at)
        await _insert(client, f"INSERT INTO notify.computed (what, at, version) VALUES {values}")

    async def _seal(self, client: AsyncClient) -> None:
        """An hour of which something may have expired stays as it is."""
        now_s = self._now_ms() // 1000
        before_events = await self._sealed(client, "sealed")
        for what, days in (("sealed", self._kept.events), ("sealed_sends", self._kept.sends)):
            before = (now_s - (days - 1) * 86_400) // 86_400 * 86_400
            if before > 0 and await self._sealed(client, what) < before:
                await self._computed(client, what, [before], await self._next_version(client))
        if await self._sealed(client, "sealed") > before_events:
            await self._clear_open(client, now_s - self._kept.sends * 86_400)

    async def _clear_open(self, client: AsyncClient, before_s: int) -> None:
        """Once a day, of the rows of sends without an end: those that have got one, and those of before. No time to
        live ever ends these, as their hour is in 2100."""
        upto = await self._next_version(client)
        there = await client.command(f"SELECT count() FROM notify.settled_sends WHERE {_OPEN}")
        if not int(str(there)):
            return
        # First what each of them replaces has to go, or it would be back when they have gone. ClickHouse may put that
        # off, and says so only if it is told to: then they stay until tomorrow.
        try:
            await client.command(
                "OPTIMIZE TABLE notify.settled_sends PARTITION 210001 FINAL SETTINGS optimize_throw_if_noop = 1"
            )
        except ClickHouseError as error:
            if getattr(error, "code", None) != _NOT_MERGED:
                raise
            log.warning("rows of sends that have ended stay until tomorrow: ClickHouse doesn't merge them now")
            return
        gone = f"NOT live AND version < {upto} OR version < {before_s * 1000}"
        await client.command(f"ALTER TABLE notify.settled_sends DELETE IN PARTITION 210001 WHERE {gone}")

    async def _sealed(self, client: AsyncClient, what: str) -> int:
        return int(
            str(await client.command(f"SELECT toUnixTimestamp(max(at)) FROM notify.computed WHERE what = '{what}'"))
        )

    async def _next_version(self, client: AsyncClient) -> int:
        if not self._version:
            tables = ("settled_sends", "settled_calls", "delivery_counts", "reach_counts", "computed")
            for table in tables:
                found = await client.command(f"SELECT max(version) FROM notify.{table}")
                self._version = max(self._version, int(str(found)))
        self._version = max(self._version + 1, self._now_ms())
        return self._version

    # --- what was there before ---

    async def _backfill(self, client: AsyncClient) -> None:
        """Makes the states of events that were there before them, day by day; goes on where it was."""
        done = await noted(client)
        days = [
            row[0]
            for row in (
                await client.query(
                    "SELECT DISTINCT partition FROM system.parts "
                    "WHERE database = 'notify' AND table = 'lifecycle' AND active ORDER BY 1 DESC"
                )
            ).result_rows
        ]
        for number, day in enumerate(days):
            if (step := f"events of {day}") not in done:
                events = f"(SELECT *, rank FROM notify.lifecycle WHERE _partition_id = '{day.replace('-', '')}')"
                for table in FEEDS:
                    if table not in self._settled:
                        await _insert(client, f"INSERT INTO notify.{table} {feed(table, events)}")
                await note(client, step)
                log.info("states made of events", day=day, days_left=len(days) - number - 1)
        count = int(str(await client.command("SELECT count() FROM notify.send_states")))
        ranges = _ranges(count)
        for number, (first, last) in enumerate(ranges):
            if (step := f"recipients up to {last} of {len(ranges)}") not in done:
                await self._settle(client, f"recipient BETWEEN {first} AND {last}")
                await note(client, step)
                log.info("sends settled", done=number + 1, of=len(ranges))
        for day in days:
            if (step := f"counts of {day}") not in done:
                found = await client.query(
                    "SELECT DISTINCT toUnixTimestamp(hour) FROM notify.hour_events "
                    f"WHERE toDate(hour) = '{day}' AND hour >= {await self._sealed(client, 'sealed')} ORDER BY 1"
                )
                await self._count(client, [row[0] for row in found.result_rows])
                await note(client, step)
        await note(client, DONE)
        await make_views(client)
        log.info("the views answer from states")

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()


_SETTLED = (
    *("hour", "campaign_id", "recipient", "row", "has_send", "channel", "provider", "category", "priority"),
    *("template_id", "template_version", "variant", "status", "policy_version", "accepted_at", "due_from", "ended_at"),
    *("delivered_at", "opened", "clicked", "bounced", "complained", "unsubscribed", "live", "version"),
)
_CALLS = (
    *("hour", "recipient", "row", "began_at", "attempt", "provider", "answer", "in_doubt", "settled", "ms", "version"),
)


def _ranges(count: int) -> list[tuple[int, int]]:
    """Ranges of hashes that hold about as many recipients as are folded at once."""
    number = max(1, -(-count // _RECIPIENTS_AT_ONCE))
    edges = [_HASHES * at // number for at in range(number + 1)]
    return [(first, last - 1) for first, last in pairwise(edges)]


async def _insert(client: AsyncClient, sql: str) -> Any:
    return await client.command(sql, settings=_SETTINGS)
