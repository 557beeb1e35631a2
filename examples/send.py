"""Asks for a notification by HTTP with Tocsin's client, and says what became of it.

It needs `tocsin.client` (pip install ./clients/python; in .venv it is there).
"""

import argparse
import os
import sys
import time

from tocsin.client import NotFound, Tocsin, TocsinError

#: How long it waits for the end.
PATIENCE_S = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway's address")
    parser.add_argument("--key", default=os.environ.get("TOCSIN_API_KEY"), help="an API key; default: TOCSIN_API_KEY")
    parser.add_argument("--user", default="ada")
    options = parser.parse_args()
    if not options.key:
        parser.error("give --key or set TOCSIN_API_KEY: `make run` prints one")
    with Tocsin(options.url, options.key) as tocsin:
        try:
            accepted = tocsin.notifications.send(
                user_id=options.user,
                event_type="hello.world",
                channels=["in_app"],
                content={"title": "Hello", "body": "It works."},
            )
            print(f"accepted: {accepted.notification_id}")
            print(outcome(tocsin, accepted.notification_id, options.user))
        except TocsinError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def outcome(tocsin: Tocsin, notification_id: str, user: str) -> str:
    """In words, once nothing is pending."""
    over_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < over_at:
        try:
            if tocsin.notifications.status(notification_id).status == "done":
                return tocsin.notifications.why(notification_id, user_id=user).summary
        except NotFound:
            pass  # it was taken a moment ago
        time.sleep(0.5)
    return "it is still on its way"


if __name__ == "__main__":
    sys.exit(main())
