"""``tocsin query``: SQL over what happened to notifications."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.output import AsJson, Refused, print_rows
from app.cli.settings import load_settings

if TYPE_CHECKING:
    from app.store.queries import Answer


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement that only reads from the database notify.")],
    as_json: AsJson = False,
    param: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="The value of {NAME:Type} in the statement.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Show at most this many rows.")] = 1000,
) -> None:
    """Query ClickHouse, embedded or a server, while the system runs.

    Views: notifications, delivery_hourly, latency_hourly, slo_hourly, provider_hourly, engagement, decisions,
    users_reached; all events: lifecycle.

    Example: `tocsin query "SELECT channel, status, count() FROM notifications GROUP BY ALL"`

    Example: `tocsin query "SELECT * FROM notifications WHERE user_id = {user:String}" --param user=u-4711`
    """
    from app.store.queries import Limits, Queries, QueryRefused, Unavailable

    settings, values = load_settings(), _values(param or [])

    async def ask() -> "Answer":
        queries = Queries(settings)
        try:
            return await queries.run(sql, Limits(rows=limit), values)
        finally:
            await queries.close()

    try:
        answer = asyncio.run(ask())
    except (QueryRefused, Unavailable) as error:
        raise Refused(str(error)) from None
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    print_rows(rows, answer.columns, as_json=as_json)
    if answer.truncated:
        typer.echo(f"There are more rows; these are the first {limit} (--limit).", err=True)


def _values(given: list[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for each in given:
        name, is_there, value = each.partition("=")
        if not is_there:
            raise Refused(f"--param {each}: write NAME=VALUE")
        if name in values:
            raise Refused(f"--param {name}: is given twice")
        values[name] = value
    return values
