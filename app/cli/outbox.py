"""``tocsin outbox``: requests that a service writes into its own PostgreSQL, in the transactions they are part of."""

import sys
from typing import Annotated

import typer

from app import logs
from app.cli.output import Refused
from app.cli.settings import load_settings

app = typer.Typer()

Table = Annotated[str, typer.Option(help="The outbox's table.")]
_TABLE = "tocsin_outbox"


@app.command()
def ddl(table: Table = _TABLE) -> None:
    """Print the SQL that creates the outbox's tables (PostgreSQL 13 or newer).

    Example: `tocsin outbox ddl | psql "$DSN"`
    """
    from app.store.outbox import BadTable, table_ddl

    try:
        print(table_ddl(table), end="")
    except BadTable as error:
        raise Refused(f"--table: {error}") from None


@app.command()
def relay(
    dsn: Annotated[
        str,
        typer.Option(
            envvar="OUTBOX_DSN",
            show_envvar=True,
            help="postgresql://user@host/database; the password better in PGPASSWORD or ~/.pgpass.",
        ),
    ],
    source: Annotated[str, typer.Option(help="The service that makes the requests.")],
    table: Table = _TABLE,
    once: Annotated[bool, typer.Option("--once", help="Stop when the outbox is empty.")] = False,
) -> None:
    """Relay the outbox to Kafka until SIGTERM: at least once, in order for each user. More relays share
    the work; each needs a TOCSIN_INSTANCE of its own on one machine.

    Example: `tocsin outbox relay --dsn postgresql://shop@db/shop --source shop`
    """
    from agents.outbox import Relaying
    from app.store.outbox import BadTable, OutboxRefused, table_ddl
    from app.wiring import run_outbox

    if not source or len(source) > 100 or not source.isprintable():
        raise Refused("--source: 1 to 100 printable characters")
    try:
        table_ddl(table)
    except BadTable as error:
        raise Refused(f"--table: {error}") from None
    settings = load_settings()
    logs.configure(console=sys.stderr.isatty())
    try:
        relayed, refused = run_outbox(settings, dsn, table, Relaying(source, once))
    except OutboxRefused as error:
        raise Refused(str(error)) from None
    if once:
        typer.echo(f"{relayed} relayed, {refused} refused", err=True)
        if refused:
            raise Refused(f"{refused} rows were refused: see the column refused of {table}")
