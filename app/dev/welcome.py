"""What a developer needs to know of the running system: addresses, keys, and a request to paste."""

import json

from app.dev.state import State


def curl_line(state: State, user_id: str = "ada", channels: tuple[str, ...] = ("in_app",)) -> str:
    """A shell command that sends a first notification."""
    body = {
        "user_id": user_id,
        "event_type": "hello.world",
        "channels": channels,
        "content": {"title": "Hello", "body": "It works."},
    }
    return (
        f"curl -sS {state.gateway_url}/v1/notifications -H 'Authorization: Bearer {state.api_keys['demo']}' "
        f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'"
    )


def welcome(state: State, page_url: str) -> str:
    """Some lines for the terminal. They hold the development keys, which open nothing but this system. ``page_url``:
    where the page with a passenger's inbox is."""
    return "\n".join(
        (
            f"  inbox         {page_url}  (a page with a passenger's inbox)",
            f"  gateway       {state.gateway_url}  (OpenAPI at /openapi.json)",
            f"  console       {state.gateway_url}/console  (sign in with the key admin)",
            f"  sandbox       {state.sandbox_url}  (what phones and mailboxes would show)",
            f"  Kafka         {state.kafka_bootstrap}",
            f"  settings      {state.config_file}",
            *(f"  {f'key {key_id}':<13} {key}" for key_id, key in state.api_keys.items()),
            "",
            "  " + curl_line(state),
        )
    )
