"""A receiver of Tocsin's outbound webhooks: verifies each call, takes each event once, answers at once.

The signature is checked by the library of the Standard Webhooks specification: pip install standardwebhooks.
"""

import argparse
import json
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

#: So many ids are remembered: a call is repeated when its answer was lost.
REMEMBERED = 100_000


class Receiver(BaseHTTPRequestHandler):
    webhook: ClassVar[Webhook]
    seen: ClassVar[OrderedDict[str, None]] = OrderedDict()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self.webhook.verify(body, {name.lower(): value for name, value in self.headers.items()})
        except WebhookVerificationError:
            return self.answer(401)
        event = json.loads(body)
        if event["data"]["event_id"] not in self.seen:  # (the header webhook-id has it, too)
            self.seen[event["data"]["event_id"]] = None
            if len(self.seen) > REMEMBERED:
                self.seen.popitem(last=False)
            print(event["type"], event["data"]["user_id"], event["data"]["notification_id"], flush=True)
        return self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: what was received is printed."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--secret", required=True, help="whsec_…, as POST /v1/hooks answered")
    parser.add_argument("--port", type=int, default=9000)
    options = parser.parse_args()
    Receiver.webhook = Webhook(options.secret)
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Receiver)
    print(f"listening at http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
