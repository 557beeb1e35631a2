"""``tocsin query-user``: users for other tools that ask ClickHouse."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import typer

from app.cli.output import AsJson, Refused, print_rows
from app.cli.settings import load_settings
from app.config import Settings

app = typer.Typer()


@app.command()
def create(name: str = typer.Argument(metavar="NAME", help="Lower-case letters, digits and _.")) -> None:
    """Create a read-only user, with the limits of `tocsin query`. The password is shown once.

    Of the embedded ClickHouse it can be used at once. For a server, this prints what its administrator runs.

    Example: `tocsin query-user create grafana`
    """
    from app.store.query_users import QueryUsers, check_name, new_password, statements

    settings, password = load_settings(), new_password()
    with _refusing():
        if not _is_embedded(settings):
            check_name(name)
            typer.echo("Run this as an administrator of the server:\n", err=True)
            print(statements(name, password))
            typer.echo(f"\nThe password, which isn't shown again: {password}", err=True)
            return
        QueryUsers(settings.data.dir).add(name, password)
    typer.echo("Keep the password now: it isn't shown again.\n", err=True)
    print(f"clickhouse://{name}:{password}@{_where(settings)}")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the users of the embedded ClickHouse.

    Example: `tocsin query-user list --json`
    """
    from app.store.query_users import QueryUsers

    settings = load_settings()
    _only_embedded(settings)
    with _refusing():
        names = sorted(QueryUsers(settings.data.dir).read())
    print_rows([{"name": name} for name in names], ("name",), as_json=as_json)


@app.command()
def drop(name: str = typer.Argument(metavar="NAME", help="As shown by `tocsin query-user list`.")) -> None:
    """Delete a user of the embedded ClickHouse. Its next query is refused.

    Example: `tocsin query-user drop grafana`
    """
    from app.store.query_users import QueryUsers

    settings = load_settings()
    _only_embedded(settings)
    with _refusing():
        QueryUsers(settings.data.dir).drop(name)
    print(f"Dropped: {name}.")


@contextmanager
def _refusing() -> Iterator[None]:
    from app.store.query_users import BadQueryUser

    try:
        yield
    except BadQueryUser as error:
        raise Refused(str(error)) from None
    except OSError as error:
        raise Refused(f"data.dir: {error.strerror or error}") from None


def _is_embedded(settings: Settings) -> bool:
    from app.store.clickhouse import EMBEDDED

    return settings.clickhouse.url.startswith(EMBEDDED)


def _only_embedded(settings: Settings) -> None:
    if not _is_embedded(settings):
        raise Refused("clickhouse.url is a server, which has its users itself: SHOW USERS, DROP USER")


def _where(settings: Settings) -> str:
    from app.store.announcement import announced_query_url

    url = announced_query_url(settings.data.dir)
    return f"127.0.0.1:{urlsplit(url).port if url else 'PORT'}/notify"
