"""``tocsin campaign``: one message to many, followed until everybody has theirs."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from app.cli.gateway import GatewayClient, connect, json_object, segment
from app.cli.output import AsJson, Refused, print_rows

app = typer.Typer(help="Send a message to many users; show, pause, resume or cancel it.", no_args_is_help=True)

_PATH = "/v1/campaigns"
_POLL_S = 0.5
_PIECE_BYTES = 64 << 10
_MEDIA = {
    ".csv": "text/csv",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
}
_OVER = ("done", "cancelled", "paused", "scheduled")

Id = Annotated[str, typer.Argument(metavar="ID", help="As shown by `tocsin campaign list`.")]


@app.command()
def send(
    file: Annotated[
        Path | None,
        typer.Argument(help="The recipients: .csv with a column user_id, or .ndjson with user_id and data per line."),
    ] = None,
    event_type: Annotated[str, typer.Option(help="What happened, such as sale.began. Required.")] = "",
    campaign: Annotated[str | None, typer.Option(help="Its name. Using a name again adds users.")] = None,
    user: Annotated[list[str] | None, typer.Option(help="A recipient, instead of a file. Repeatable.")] = None,
    among: Annotated[
        str | None, typer.Option("--segment", help='In place of a file: such as {"locale": "en", "has": ["push"]}.')
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Instead of a file: all users with a profile.")] = False,
    title: Annotated[str | None, typer.Option(help="Literal content, with --body.")] = None,
    body: Annotated[str | None, typer.Option(help="Literal content, with --title.")] = None,
    template: Annotated[str | None, typer.Option(help="A template, instead of the event type's.")] = None,
    data: Annotated[str | None, typer.Option(help="Data for all recipients, as a JSON object.")] = None,
    channel: Annotated[list[str] | None, typer.Option(help="push, email, sms or in_app. Repeatable.")] = None,
    priority: Annotated[str | None, typer.Option(help="high, normal or low (default).")] = None,
    send_at: Annotated[str | None, typer.Option(help="When it begins (RFC 3339). Default: now.")] = None,
    local_time: Annotated[str | None, typer.Option(help="A time of day in each user's zone, such as 09:00.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="Nothing is sent after this time (RFC 3339).")] = None,
    rate: Annotated[str | None, typer.Option(help="The highest rate, such as 500/s.")] = None,
    canary: Annotated[str | None, typer.Option(help="The share that gets it first, such as 1%; then pause.")] = None,
    holdout: Annotated[str | None, typer.Option(help="The share that gets nothing, such as 5%.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return at once instead of showing its progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send a message to many users, and show its progress until all requests are produced. Ctrl-C leaves it running.

    Example: `tocsin campaign send users.csv --event-type sale.began --title Sale --body "Everything must go."`
    """
    if not event_type:
        raise Refused("--event-type is required: what happened, such as sale.began")
    if (title is None) != (body is None):
        raise Refused("--title and --body go together")
    if (file is not None) + bool(user) + (among is not None) + everybody != 1:
        raise Refused("name the recipients: a file, or one of --user, --segment and --all")
    terms: dict[str, Any] = {
        "campaign_id": campaign,
        "event_type": event_type,
        "template_id": template,
        "content": None if title is None else {"title": title, "body": body},
        "data": None if data is None else json_object(data, "--data"),
        "channels": channel or None,
        "priority": priority,
        "send_at": send_at,
        "local_time": local_time,
        "expires_at": expires_at,
        "rate": rate,
        "canary": canary,
        "holdout": holdout,
    }
    given = {name: value for name, value in terms.items() if value is not None}
    gateway = connect("campaign")
    if file is not None:
        begun = _upload(gateway, file, given)
    else:
        whom = {
            "user_ids": user or None,
            "segment": None if among is None else json_object(among, "--segment"),
            "all": everybody or None,
        }
        begun = gateway.call("POST", _PATH, given | {name: value for name, value in whom.items() if value is not None})
    if no_wait:
        _print_begun(begun, as_json)
    else:
        _follow(gateway, begun["campaign_id"], as_json)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=500, help="Show at most this many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the campaigns of the API key's source, newest first.

    Example: `tocsin campaign list`
    """
    found = connect("campaign").call("GET", _PATH, query={"limit": str(limit)})["campaigns"]
    columns = ("campaign_id", "status", "event_type", "created_at", "recipients", "produced", "refused")
    print_rows(found, columns, as_json=as_json)


@app.command()
def show(campaign_id: Id, as_json: AsJson = False) -> None:
    """Show a campaign's progress, the refused rows of its upload, and the outcomes of its sends.

    Example: `tocsin campaign show spring`
    """
    _print(connect("campaign").call("GET", _path(campaign_id)), as_json)


@app.command()
def pause(campaign_id: Id) -> None:
    """Pause a campaign. Within 1 s, nothing more is produced.

    Example: `tocsin campaign pause spring`
    """
    print(connect("campaign").call("POST", f"{_path(campaign_id)}/pause")["status"])


@app.command()
def resume(
    campaign_id: Id,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return at once instead of showing its progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Resume a paused campaign where it stopped; after a canary, for everybody.

    Example: `tocsin campaign resume spring`
    """
    gateway = connect("campaign")
    begun = gateway.call("POST", f"{_path(campaign_id)}/resume")
    if no_wait:
        print(begun["status"])
    else:
        _follow(gateway, campaign_id, as_json)


@app.command()
def cancel(campaign_id: Id) -> None:
    """Cancel a campaign. Nothing more is produced, and unsent notifications end as cancelled.

    Example: `tocsin campaign cancel spring`
    """
    print(connect("campaign").call("DELETE", _path(campaign_id))["status"])


def _path(campaign_id: str) -> str:
    return f"{_PATH}/{segment(campaign_id)}"


# --- an upload ---


def _upload(gateway: GatewayClient, file: Path, terms: Mapping[str, Any]) -> Any:
    media = _MEDIA.get(file.suffix.lower())
    if media is None:
        raise Refused(f"{file}: its name must end in one of {', '.join(_MEDIA)}")
    query = {
        name: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        for name, value in terms.items()
    }
    # What is wrong with the terms is answered before the file is on its way.
    status, answer = gateway.ask("POST", _PATH, b"", query=query, media=media)
    if status != 202 and not (status == 400 and answer.get("field") == "body"):
        return gateway.call("POST", _PATH, b"", query=query, media=media)
    try:
        with file.open("rb") as opened, _sending(file.stat().st_size) as sent:
            return gateway.call("POST", _PATH, _pieces(opened, sent), query=query, media=media)
    except OSError as error:
        raise Refused(f"{file} can't be read: {error.strerror or error}") from None


def _pieces(opened: BinaryIO, sent: Any) -> Iterator[bytes]:
    while piece := opened.read(_PIECE_BYTES):
        yield piece
        sent(len(piece))


@contextmanager
def _sending(size: int) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    with Progress(
        TextColumn("uploading"), BarColumn(), DownloadColumn(), console=Console(stderr=True), transient=True
    ) as progress:
        task = progress.add_task("uploading", total=size)
        yield lambda octets: progress.update(task, advance=octets)


# --- following it ---


def _follow(gateway: GatewayClient, campaign_id: str, as_json: bool) -> None:
    """Shows how far it is until it has ended, or waits for somebody."""
    typer.echo(f"campaign {campaign_id}", err=True)
    try:
        with _progress() as shown:
            while True:
                found = gateway.call("GET", _path(campaign_id))
                shown(found)
                if found["status"] in _OVER:
                    break
                time.sleep(_POLL_S)
    except KeyboardInterrupt:
        raise Refused(f"it continues; to pause it: `tocsin campaign pause {campaign_id}`") from None
    _print(found, as_json)
    if found["status"] == "cancelled":
        raise Refused("it was cancelled")


@contextmanager
def _progress() -> Iterator[Any]:
    """A bar on standard error, so that what is printed can be piped."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("begins", total=None)

        def show_it(found: Mapping[str, Any]) -> None:
            total = found["recipients"] or None
            bar.update(task, description=found["status"], completed=found["produced"], total=total)

        yield show_it


def _print_begun(begun: Mapping[str, Any], as_json: bool) -> None:
    print(json.dumps(begun, indent=2) if as_json else f"{begun['campaign_id']}: {begun['status']}")


def _print(found: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print(f"campaign {found['campaign_id']}: {found['status']}")
    print(f"{found['event_type']}, asked for at {found['created_at']}, notification {found['notification_id']}")
    for name in ("template_id", "send_at", "local_time", "expires_at", "rate", "canary", "holdout"):
        if found.get(name) is not None:
            print(f"{name}: {found[name]}")
    print(f"{found['produced']} of {found['recipients']} recipients produced, {found['refused']} rows refused")
    for error in found["errors"]:
        field = f"{error['field']}: " if error["field"] else ""
        print(f"line {error['line']}: {field}{error['detail']}", file=sys.stderr)
    delivery = found.get("delivery") or {}
    rows = [{"channel": channel, **counts} for channel, counts in sorted(delivery.items())]
    if rows:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        print_rows([dict.fromkeys(columns) | row for row in rows], columns, as_json=False)
