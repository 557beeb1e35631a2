"""``tocsin why``: what became of a notification, and by which rule, in words."""

import json
from typing import Annotated, Any

import typer

from app.cli.gateway import GatewayClient, connect, segment
from app.cli.output import Refused

_MARKS = {True: "yes ", False: "no  ", "wait": "wait"}


def why(
    notification_id: Annotated[str, typer.Argument(help="The id that the gateway returned.")],
    user: Annotated[str | None, typer.Option(help="The recipient. Default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")] = False,
) -> None:
    """Explain why a recipient got a notification, or didn't.

    Example: `tocsin why 0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e --user ada`
    """
    gateway = connect("admin")
    path = f"/v1/notifications/{segment(notification_id)}"
    users = [user] if user is not None else _recipients(gateway, path)
    answers = {each: gateway.call("GET", f"{path}/why", query={"user_id": each}) for each in users}
    if as_json:
        print(json.dumps(answers[user] if user is not None else answers, indent=2))
        return
    for each, explanation in answers.items():
        _print(each, explanation)


def _recipients(gateway: GatewayClient, path: str) -> list[str]:
    users: dict[str, None] = {}
    cursor: str | None = None
    while True:
        page = gateway.call("GET", f"{path}/events", query={"cursor": cursor, "limit": "1000"})
        users |= dict.fromkeys(event["user_id"] for event in page["events"])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if not users:
        raise Refused("nothing has happened to it yet")
    return list(users)


def _print(user: str, explanation: dict[str, Any]) -> None:
    print(f"{user}: {explanation['summary']}")
    for channel, explained in explanation["channels"].items():
        print(f"  {channel}: {explained['outcome']}" + (f", {explained['reason']}" if explained["reason"] else ""))
        for entry in explained["trail"]:
            print(f"    {_MARKS.get(entry['answer'], '?   ')}  {entry['rule']}: {entry['words']}")
