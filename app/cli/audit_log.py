"""``tocsin audit-log``: who changed what, when, and from where."""

from typing import Annotated

import typer

from app.cli.gateway import connect
from app.cli.output import AsJson, print_rows

_PAGE = 500


def audit_log(
    action: Annotated[
        str | None, typer.Option(help="Only this action, such as `policy.put`, or all of a kind: `template`.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="ID", help="Only changes made with this API key.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Only changes at or after this time (RFC 3339).")] = None,
    to: Annotated[str | None, typer.Option(help="Only changes before this time (RFC 3339).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Show at most this many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show who changed policy, templates, keys and providers, who erased, cancelled, redrove, replayed; newest first.

    Example: `tocsin audit-log --action template --from 2026-11-29T00:00:00Z`
    """
    gateway = connect("admin")
    entries: list[dict[str, str | None]] = []
    asked = {"action": action, "key_id": key, "from": from_, "to": to}
    cursor: str | None = None
    while len(entries) < limit:
        query = {**asked, "limit": str(min(limit - len(entries), _PAGE)), "cursor": cursor}
        page = gateway.call("GET", "/v1/audit-log", query=query)
        entries += page["entries"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    print_rows(entries, ("at", "action", "what", "key_id", "from"), as_json=as_json)
    if cursor is not None:
        typer.echo(f"There are more entries; these are the newest {limit} (--limit).", err=True)
