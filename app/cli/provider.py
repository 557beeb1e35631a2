"""``tocsin provider``: how providers are doing; pause and resume them by hand."""

from typing import Annotated, Any

import typer

from app.cli.gateway import connect, segment
from app.cli.output import AsJson, print_rows

app = typer.Typer()

_PATH = "/v1/providers"

Name = Annotated[str, typer.Argument(metavar="PROVIDER|CHANNEL", help="A provider, or a channel for all of them.")]


@app.command()
def pause(
    name: Name,
    why: Annotated[str, typer.Option(help="The reason, for others: at most 200 characters.")],
) -> None:
    """Pause a provider: no worker calls it until it is resumed, not even for critical sends. Calls in
    flight end, the channel's next provider takes over, and sends without one are held and still expire.

    Example: `tocsin provider pause fcm --why 'maintenance until 14:00'`
    """
    done = connect("admin").call("POST", f"{_PATH}/{segment(name)}/pause", {"why": why})
    print(f"Paused: {', '.join(done['providers'])}. Resume with `tocsin provider resume {name}`.")


@app.command()
def resume(
    name: Name,
    why: Annotated[str | None, typer.Option(help="The reason, for others.")] = None,
) -> None:
    """Resume a provider: held sends go out in order, and the load ramps up over a minute.

    Example: `tocsin provider resume fcm`
    """
    done = connect("admin").call("POST", f"{_PATH}/{segment(name)}/resume", {} if why is None else {"why": why})
    print(f"Resumed: {', '.join(done['providers'])}.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the providers as their running workers see them: closed, open, recovering or paused.

    Example: `tocsin provider list --json`
    """
    providers = connect("admin").call("GET", _PATH)["providers"]
    columns = ("provider", "channel", "state", "why", "since", "in_flight", "waiting", "rate", "limited_by", "workers")
    print_rows(providers if as_json else [_row(each) for each in providers], columns, as_json=as_json)


def _row(provider: dict[str, Any]) -> dict[str, Any]:
    state = provider["state"]
    shown = f"{state} (to be paused)" if provider["paused"] and state != "paused" else state
    return {**provider, "state": shown, "workers": len(provider["workers"])}
