"""Brings the database ``notify`` to what this version reads and writes."""

from dataclasses import dataclass
from hashlib import sha256

from clickhouse_connect.driver import AsyncClient

from app.config import ClickHouse
from app.domain.erasure import DEFAULT_WITHIN, ErasureSteps
from app.store.sql import names, statement

_DEFAULT_STEPS = ErasureSteps(DEFAULT_WITHIN)
#: ClickHouse's own default.
_OLD_PARTS_S = 480
#: What ``backfilled`` says when the states have been made of all events.
DONE = "done"
#: Of recipients of whom something came that isn't settled.
TOUCHED = "recipient IN (SELECT recipient FROM notify.touched)"


@dataclass(frozen=True, slots=True)
class Kept:
    """For how many days events, sends' outcomes and counts of hours and days are kept (``hourly`` None: for ever)."""

    events: int = 90
    sends: int = 396
    hourly: int | None = None

    @classmethod
    def of(cls, settings: ClickHouse) -> "Kept":
        return cls(settings.retention_days, settings.sends_retention_days, settings.hourly_retention_days)


async def migrate(client: AsyncClient, kept: Kept, steps: ErasureSteps = _DEFAULT_STEPS) -> None:
    """Applies the numbered statements that aren't applied yet, has the states fed, sets how long what is kept and how
    long replaced parts are (``steps``: of ``data.erase_within``), and makes all views anew: those of the states once
    these were made of the events that were there before them, the former ones until then.

    May be repeated, and run by several processes. ``client`` needs no default database.
    """
    await client.command("CREATE DATABASE IF NOT EXISTS notify")
    await client.command(statement("migrations"))
    applied = {row[0] for row in (await client.query("SELECT name FROM notify.migrations")).result_rows}
    for name in names("0"):
        if name not in applied:
            await client.command(statement(name))
            await client.command("INSERT INTO notify.migrations (name) VALUES ({name:String})", {"name": name})
    for table in FEEDS:
        await _have_fed(client, table)
    await _retain(client, kept)
    await _let_go(client, steps)
    if not await backfilled(client) and not await client.command("SELECT count() FROM notify.lifecycle"):
        await note(client, DONE)
    await make_views(client)


#: What is kept as events come in, in the order in which one insert reaches them.
FEEDS = {name.split("_", 2)[2]: name for name in names("feed_")}


def feed(table: str, events: str) -> str:
    """The SELECT that makes rows of the table out of ``events``: a table, or a subquery with its columns."""
    return statement(FEEDS[table], events=events)


async def _have_fed(client: AsyncClient, table: str) -> None:
    """The comment of a feed says which statement it was made of, as ClickHouse writes statements in its own way."""
    select = feed(table, "notify.lifecycle")
    made_of = sha256(select.encode()).hexdigest()
    create = f"CREATE MATERIALIZED VIEW IF NOT EXISTS notify.feed_{table} TO notify.{table} AS {select}"
    await client.command(f"{create} COMMENT '{made_of}'")
    comment = f"SELECT comment FROM system.tables WHERE database = 'notify' AND name = 'feed_{table}'"
    if await client.command(comment) != made_of:  # another version made it
        await client.command(f"ALTER TABLE notify.feed_{table} MODIFY QUERY {select}")
        await client.command(f"ALTER TABLE notify.feed_{table} MODIFY COMMENT '{made_of}'")


async def make_views(client: AsyncClient) -> None:
    ready = await backfilled(client)
    for name in (*names("inner_"), *names("view_" if ready else "former_view_")):
        parts = {}
        if name.endswith(("_outcomes", "_calls")):
            parts["folded"] = statement(f"{name.split('_')[2]}_folded", whose=TOUCHED)
        await client.command(statement(name, **parts))


async def backfilled(client: AsyncClient) -> bool:
    return DONE in await noted(client)


async def noted(client: AsyncClient) -> set[str]:
    """The steps of the backfill that were done."""
    return {row[0] for row in (await client.query("SELECT step FROM notify.backfilled")).result_rows}


async def note(client: AsyncClient, step: str) -> None:
    await client.command("INSERT INTO notify.backfilled (step) VALUES ({step:String})", {"step": step})


async def _let_go(client: AsyncClient, steps: ErasureSteps) -> None:
    """Parts that a mutation or a merge has replaced are deleted in time."""
    seconds = min(_OLD_PARTS_S, int(steps.linger.total_seconds()))
    wanted = {"old_parts_lifetime": seconds, "cleanup_delay_period": seconds, "max_cleanup_delay_period": seconds}
    made = await _made(client, "lifecycle")
    if any(f"{name} = {value}" not in made for name, value in wanted.items()):
        settings = ", ".join(f"{name} = {value}" for name, value in wanted.items())
        await client.command(f"ALTER TABLE notify.lifecycle MODIFY SETTING {settings}")


async def _made(client: AsyncClient, table: str) -> str:
    sql = f"SELECT engine_full FROM system.tables WHERE database = 'notify' AND name = '{table}'"
    return str(await client.command(sql))


async def _retain(client: AsyncClient, kept: Kept) -> None:
    """Only where it differs: changing a TTL has every part looked at again."""
    # (What a month's partition holds goes when the last of it may.)
    wanted = {
        "lifecycle": ("toDateTime(occurred_at)", kept.events),
        "hour_events": ("hour", kept.events),
        "reached": ("day", kept.events + 1),
        "send_states": ("month", kept.sends + 31),
        "settled_sends": ("hour", kept.sends),
        "settled_calls": ("hour", kept.sends),
        "delivery_counts": ("hour", kept.hourly),
        "reach_counts": ("day", kept.hourly),
    }
    for table, (since, days) in wanted.items():
        made = await _made(client, table)
        if days is None:
            if " TTL " in made:
                await client.command(f"ALTER TABLE notify.{table} REMOVE TTL")
            continue
        ttl = f"{since} + toIntervalDay({days})"
        if f"TTL {ttl} " not in f"{made} ":
            await client.command(f"ALTER TABLE notify.{table} MODIFY TTL {ttl}")
