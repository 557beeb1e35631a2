"""What is known of users, as commands say it, one after the other."""

from typing import Any

import msgspec

from schemas.commands import read_command
from schemas.instants import parse_ms, rfc3339
from tables.knowledge import Change, Knowledge
from tables.rows import MemoryRows

NOON = parse_ms("2026-03-04T12:00:00Z")
#: Of a web push subscription.
KEYS = {"p256dh": "B" + "A" * 86, "auth": "A" * 22}


class Known:
    """Knowledge with commands numbered as they come."""

    def __init__(self) -> None:
        self.knowledge = Knowledge(MemoryRows())
        self.now = NOON
        self._count = 0

    def say(self, kind: str, user_id: str | None = "ann", **fields: Any) -> Change:
        self._count += 1
        message = {"type": kind, "id": f"c{self._count}", "at": rfc3339(self.now), **fields}
        if user_id is not None:
            message["user_id"] = user_id
        return self.knowledge.apply(read_command(msgspec.json.encode(message)), f"p:{self._count}", self.now)
