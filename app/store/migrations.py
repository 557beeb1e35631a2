"""Brings the database ``notify`` to what this version reads and writes."""

from clickhouse_connect.driver import AsyncClient

from app.domain.erasure import DEFAULT_WITHIN, ErasureSteps
from app.store.sql import names, statement

_DEFAULT_STEPS = ErasureSteps(DEFAULT_WITHIN)
#: ClickHouse's own default.
_OLD_PARTS_S = 480


async def migrate(client: AsyncClient, retention_days: int, steps: ErasureSteps = _DEFAULT_STEPS) -> None:
    """Applies the numbered statements that aren't applied yet, sets the TTL and how long replaced parts are
    kept (``steps``: of ``data.erase_within``), and makes all views anew.

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
    await _let_go(client, steps)
    for name in names("view_"):
        await client.command(statement(name))


async def _let_go(client: AsyncClient, steps: ErasureSteps) -> None:
    """Parts that a mutation or a merge has replaced are deleted in time."""
    seconds = min(_OLD_PARTS_S, int(steps.linger.total_seconds()))
    wanted = {"old_parts_lifetime": seconds, "cleanup_delay_period": seconds, "max_cleanup_delay_period": seconds}
    made = await _made(client)
    if any(f"{name} = {value}" not in made for name, value in wanted.items()):
        settings = ", ".join(f"{name} = {value}" for name, value in wanted.items())
        await client.command(f"ALTER TABLE notify.lifecycle MODIFY SETTING {settings}")


async def _made(client: AsyncClient) -> str:
    sql = "SELECT engine_full FROM system.tables WHERE database = 'notify' AND name = 'lifecycle'"
    return str(await client.command(sql))


async def _retain(client: AsyncClient, days: int) -> None:
    """Only where it differs: changing a TTL has every part looked at again."""
    ttl = f"toDateTime(occurred_at) + toIntervalDay({days})"
    made = await _made(client)
    if f"TTL {ttl} " not in f"{made} ":
        await client.command(f"ALTER TABLE notify.lifecycle MODIFY TTL {ttl}")
