"""Brings the database ``notify`` to what this version reads and writes."""

from clickhouse_connect.driver import AsyncClient

from app.store.sql import names, statement


async def migrate(client: AsyncClient, retention_days: int) -> None:
    """Applies the numbered statements that aren't applied yet, sets the TTL, and makes all views anew.

    May be repeated, and run by several processes. ``client`` needs no default database.
    """
    await client.command("CREATE DATABASE IF NOT EXISTS notify")
    await client.command(statement("migrations"))
    applied = {row[0] for row in (await client.query("SELECT name FROM notify.migrations")).result_rows}
    for name in names("0"):
        if name not in applied:
            await client.command(statement(name))
            await client.command("INSERT INTO notify.migrations (name) VALUES ({name:String})", {"name": name})
    await _retain(client, retention_days)
    for name in names("view_"):
        await client.command(statement(name))


async def _retain(client: AsyncClient, days: int) -> None:
    """Only where it differs: changing a TTL has every part looked at again."""
    ttl = f"toDateTime(occurred_at) + toIntervalDay({days})"
    made = await client.command(
        "SELECT engine_full FROM system.tables WHERE database = 'notify' AND name = 'lifecycle'"
    )
    if f"TTL {ttl} " not in f"{made} ":
        await client.command(f"ALTER TABLE notify.lifecycle MODIFY TTL {ttl}")
