"""``tocsin send``: one notification through the gateway."""

import time
from typing import Annotated, Any

import typer

from app.cli.gateway import GatewayClient, connect, json_object
from app.cli.output import Refused

_POLL_S = 0.2
_PATIENCE_S = 60.0


def send(
    user: Annotated[list[str], typer.Option(help="A recipient. Repeatable.")],
    event_type: Annotated[str, typer.Option(help="What happened, such as order.shipped.")],
    title: Annotated[str | None, typer.Option(help="Literal content, with --body.")] = None,
    body: Annotated[str | None, typer.Option(help="Literal content, with --title.")] = None,
    template: Annotated[str | None, typer.Option(help="A template, instead of the event type's.")] = None,
    data: Annotated[str | None, typer.Option(help="The template's variables, as a JSON object.")] = None,
    channel: Annotated[list[str] | None, typer.Option(help="push, email, sms or in_app. Repeatable.")] = None,
    priority: Annotated[str | None, typer.Option(help="critical, high, normal or low.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: using it again sends nothing twice.")] = None,
    send_at: Annotated[str | None, typer.Option(help="When to send (RFC 3339). Default: now.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show events until everything has ended.")] = False,
) -> None:
    """Send a notification and print its id.

    Example: `tocsin send --user ada --event-type order.shipped --title "On its way" --body "Tomorrow." --wait`
    """
    if (title is None) != (body is None):
        raise Refused("--title and --body go together")
    request = {
        "user_ids": user,
        "event_type": event_type,
        "template_id": template,
        "content": None if title is None else {"title": title, "body": body},
        "data": None if data is None else json_object(data, "--data"),
        "channels": channel,
        "priority": priority,
        "idempotency_key": key,
        "send_at": send_at,
    }
    gateway = connect("send")
    accepted = gateway.call("POST", "/v1/notifications", {k: v for k, v in request.items() if v is not None})
    print(accepted["notification_id"])
    if wait:
        _follow(gateway, f"/v1/notifications/{accepted['notification_id']}")


def _follow(gateway: GatewayClient, path: str) -> None:
    """Prints each event once, oldest first, until the notification is done."""
    printed: set[str] = set()
    give_up_at = time.monotonic() + _PATIENCE_S
    while time.monotonic() < give_up_at:
        code, status = gateway.ask("GET", path)
        for event in _events(gateway, path) if code == 200 else ():
            if event["event_id"] not in printed:
                printed.add(event["event_id"])
                print(_line(event))
        if code == 200 and status["status"] == "done":
            return
        time.sleep(_POLL_S)
    raise Refused(f"it hasn't ended within {_PATIENCE_S:.0f} s; see `tocsin why {path.rpartition('/')[2]}`")


def _events(gateway: GatewayClient, path: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = gateway.call("GET", f"{path}/events", query={"cursor": cursor, "limit": "1000"})
        events += page["events"]
        cursor = page["next_cursor"]
        if cursor is None:
            return events


def _line(event: dict[str, Any]) -> str:
    words = (event["channel"], event["provider"], event["status"], event["reason"])
    return "  ".join((event["occurred_at"], event["user_id"], *(word for word in words if word)))
