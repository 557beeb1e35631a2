"""``tocsin replay``: what a channel did not get out is sent again, with a receipt."""

import json
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli.gateway import GatewayClient, connect, segment
from app.cli.moments import moment
from app.cli.output import AsJson, Refused, print_rows
from schemas.instants import rfc3339

app = typer.Typer()

_PATH = "/v1/replays"
_POLL_S = 0.5
_LISTS = ("provider", "status", "reason", "category", "campaign", "event_type")

From = Annotated[str | None, typer.Option("--from", help="RFC 3339, a day (UTC), or how long ago: 2h. Required.")]
To = Annotated[str, typer.Option("--to", help="The same; default: now.")]
Provider = Annotated[str | None, typer.Option(help="The last attempt's provider, such as fcm. Comma-separated.")]
Status = Annotated[str | None, typer.Option(help="failed, expired, unknown, suppressed, cancelled. Comma-separated.")]
Reason = Annotated[str | None, typer.Option(help="Reasons of these ends, such as retries_exhausted. Comma-separated.")]
Category = Annotated[str | None, typer.Option(help="Only these categories. Comma-separated.")]
Campaign = Annotated[str | None, typer.Option(help="Only these campaigns. Comma-separated.")]
EventType = Annotated[str | None, typer.Option("--event-type", help="Only these event types. Comma-separated.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count what would be sent, without sending.")]
AsDecided = Annotated[bool, typer.Option("--as-decided", help="Use the original policy and template, and skip caps.")]
Rate = Annotated[str | None, typer.Option(help="The rate, such as 200/s. Default: a tenth of the lowest limit.")]
ExpiresAfter = Annotated[str | None, typer.Option(help="A new expiry for expired sends, such as 6h.")]
Resume = Annotated[str | None, typer.Option(metavar="ID", help="Resume a stopped replay.")]


@app.callback(invoke_without_command=True)
def replay(context: typer.Context, resume: Resume = None, as_json: AsJson = False) -> None:
    """Send what a channel failed to send, for example after an outage; nothing is sent twice.

    Example: `tocsin replay push --from 2h --provider fcm --dry-run`
    """
    if context.invoked_subcommand is None:
        if resume is None:
            raise Refused("say which channel (push, email, sms), or --resume ID; see `tocsin replay --help`")
        _go_on(resume, as_json)


def _channel(channel: str) -> Any:
    def run(
        since: From = None,
        until: To = "now",
        provider: Provider = None,
        status: Status = None,
        reason: Reason = None,
        category: Category = None,
        campaign: Campaign = None,
        event_type: EventType = None,
        dry_run: DryRun = False,
        as_decided: AsDecided = False,
        rate: Rate = None,
        expires_after: ExpiresAfter = None,
        resume: Resume = None,
        as_json: AsJson = False,
    ) -> None:
        if resume is not None:
            _go_on(resume, as_json)
            return
        if since is None:
            raise Refused("--from is required: the first moment at which sends were queued, such as 2h")
        now_ms = time.time_ns() // 1_000_000
        named = dict(zip(_LISTS, (provider, status, reason, category, campaign, event_type), strict=True))
        asked: dict[str, Any] = {
            "channel": channel,
            "from": rfc3339(moment("--from", since, now_ms)),
            "to": rfc3339(moment("--to", until, now_ms)),
            **{name: _values(name, text) for name, text in named.items() if text is not None},
            "dry_run": dry_run,
            "as_decided": as_decided,
            "rate": rate,
            "expires_after": expires_after,
        }
        gateway = connect("admin")
        begun = gateway.call("POST", _PATH, {name: value for name, value in asked.items() if value is not None})
        _follow(gateway, begun["replay_id"], as_json)

    run.__doc__ = f"""Send {channel} messages again that expired, or failed after all their retries.

    Counts first. Ctrl-C stops it; `tocsin replay --resume ID` goes on.

    Example: `tocsin replay {channel} --from 2026-11-29T14:00:00Z --to 2026-11-29T15:00:00Z --expires-after 6h`
    """
    return run


for _name in ("push", "email", "sms"):
    app.command(_name)(_channel(_name))


def _values(name: str, text: str) -> list[str]:
    values = [part.strip() for part in text.split(",")]
    if not all(values):
        raise Refused(f"--{name.replace('_', '-')}: {text} has an empty part")
    return values


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=500, help="Show at most this many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the replays of the last 90 days, newest first.

    Example: `tocsin replay list`
    """
    replays = connect("admin").call("GET", _PATH, query={"limit": str(limit)})["replays"]
    if as_json:
        print_rows(replays, (), as_json=True)
        return
    rows = [{**each, "sent": each["outcomes"]["sent"], "left": each["outcomes"]["not_begun"]} for each in replays]
    print_rows(rows, ("replay_id", "status", "channel", "by", "at", "candidates", "sent", "left"), as_json=False)


Id = Annotated[str, typer.Argument(metavar="ID", help="As shown by `tocsin replay list`.")]


@app.command()
def show(
    replay_id: Id,
    candidates: Annotated[bool, typer.Option("--candidates", help="Also show each candidate.")] = False,
    outcome: Annotated[str | None, typer.Option(help="With --candidates: only those with this outcome.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the receipt of a replay.

    Example: `tocsin replay show 0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e --candidates --outcome failed`
    """
    gateway = connect("admin")
    receipt = gateway.call("GET", _path(replay_id))
    found = _candidates(gateway, replay_id, outcome) if candidates or outcome else None
    if as_json:
        print(json.dumps(receipt if found is None else {**receipt, "listed": found}, indent=2))
        return
    _print(receipt)
    if found is not None:
        print()
        print_rows(found, ("send_id", "new_send_id", "notification_id", "user_id", "outcome", "reason"), as_json=False)


@app.command()
def stop(replay_id: Id) -> None:
    """Stop a replay. Within 1 s nothing more is queued; sends already queued continue.

    Example: `tocsin replay stop 0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e`
    """
    print(connect("admin").call("POST", f"{_path(replay_id)}/stop")["status"])


@app.command()
def resume(
    replay_id: Id,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return at once instead of showing its progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Resume a stopped replay where it stopped.

    Example: `tocsin replay resume 0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e`
    """
    if no_wait:
        print(connect("admin").call("POST", f"{_path(replay_id)}/resume")["status"])
    else:
        _go_on(replay_id, as_json)


def _path(replay_id: str) -> str:
    return f"{_PATH}/{segment(replay_id)}"


def _go_on(replay_id: str, as_json: bool) -> None:
    gateway = connect("admin")
    gateway.call("POST", f"{_path(replay_id)}/resume")
    _follow(gateway, replay_id, as_json)


def _candidates(gateway: GatewayClient, replay_id: str, outcome: str | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        asked = {"cursor": cursor, "outcome": outcome, "limit": "500"}
        page = gateway.call("GET", f"{_path(replay_id)}/candidates", query=asked)
        found += page["candidates"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


# --- following it ---


def _follow(gateway: GatewayClient, replay_id: str, as_json: bool) -> None:
    """Shows how far it is until it is done. Raises Refused where somebody stops it: here by Ctrl-C."""
    typer.echo(f"replay {replay_id}", err=True)
    try:
        with _Progress() as progress:
            while True:
                status, receipt = gateway.ask("GET", _path(replay_id))
                if status == 200:
                    progress(receipt)
                    if receipt["status"] in ("done", "stopped"):
                        break
                elif status < 500 and status != 429:
                    gateway.call("GET", _path(replay_id))  # which says why
                time.sleep(_POLL_S)
    except KeyboardInterrupt:
        gateway.call("POST", f"{_path(replay_id)}/stop")
        raise Refused(f"stopped; `tocsin replay --resume {replay_id}` goes on") from None
    if as_json:
        print(json.dumps(receipt, indent=2))
    else:
        _print(receipt)
    if receipt["status"] == "stopped":
        raise Refused(f"somebody stopped it; `tocsin replay --resume {replay_id}` goes on")


class _Progress:
    """A bar on standard error, so that what is printed can be piped."""

    def __enter__(self) -> "_Progress":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task("counting", total=None)
        self._bar.start()
        return self

    def __call__(self, receipt: Mapping[str, Any]) -> None:
        found = receipt["candidates"]
        if receipt["status"] == "counting":
            self._bar.update(self._task, description="counting", completed=found, total=None)
        else:
            begun = found - receipt["outcomes"]["not_begun"]
            self._bar.update(self._task, description=receipt["status"], completed=begun, total=found)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _print(receipt: Mapping[str, Any]) -> None:
    filters = {name: value for name, value in receipt["filters"].items() if name not in ("from", "to")}
    print(f"replay {receipt['replay_id']}: {receipt['status']}")
    print(f"{receipt['channel']}, queued from {receipt['filters']['from']} to {receipt['filters']['to']}")
    for name, values in filters.items():
        print(f"{name}: {', '.join(values)}")
    again = f", new time for what has expired: {receipt['expires_after']}" if "expires_after" in receipt else ""
    print(f"by {receipt['by']} at {receipt['at']}, {receipt['mode']}, {receipt['rate']}{again}")
    print(f"\n{receipt['candidates']} candidates")
    dry_run, outcomes = receipt["dry_run"], receipt["outcomes"]
    names = [name for name in dict.fromkeys((*dry_run, *outcomes)) if dry_run.get(name) or outcomes.get(name)]
    rows = [{"": name, "dry run": dry_run.get(name) or None, "outcome": outcomes.get(name) or None} for name in names]
    if rows:
        print_rows(rows, ("", "dry run", "outcome"), as_json=False)
