"""Operators who replay sends beside live traffic: any send at any time, several replays at once, some requests twice.

A job asks only for what has ended; the router's guard has to hold whatever is asked for.
"""

import json
from collections.abc import Callable
from random import Random

from app.domain.out import Produce
from schemas.replays import ReplayRequest, encode_replay_request
from schemas.sends import Send, Withdraw, read_send
from schemas.topics import REPLAY_REQUESTS
from tests.simulation.broker import Broker

_REPLAYS = tuple(f"{n}{n}{n}{n}{n}{n}{n}{n}-2222-4333-8444-555555555555" for n in (1, 2, 3))
#: How many sends are asked for in one go.
_MOST = 6


class Operators:
    """``chance``: their own, so that a seed without them is the history that it was."""

    def __init__(self, broker: Broker, chance: Random, clock: Callable[[], int], tell: Callable[[str], None]) -> None:
        self._broker, self._chance, self._clock, self._tell = broker, chance, clock, tell
        self._busy = chance.random() < 0.5

    def something(self) -> None:
        if self._busy and self._chance.random() < 0.3:
            self.replay()

    def replay(self) -> bool:
        """Asks for some sends, mostly of those whose events say that they failed or expired. Returns whether it did."""
        if not self._busy:
            return False
        sends = self._sends()
        unsent = self._unsent()
        failed = [send for send in sends if send.send_id in unsent]
        chosen = failed if failed and self._chance.random() < 0.8 else sends
        for send in self._chance.sample(chosen, min(len(chosen), self._chance.randint(1, _MOST))):
            self._ask(send)
        return bool(sends)

    def _ask(self, send: Send) -> None:
        chance = self._chance
        request = ReplayRequest(
            replay_id=chance.choice(_REPLAYS),
            user_id=send.user_id,
            send=send,
            dry_run=chance.random() < 0.1,
            as_decided=chance.random() < 0.3,
            expires_at=self._clock() + 3_600_000 if chance.random() < 0.7 else None,
        )
        self._tell(f"replay {request.replay_id[:1]} of {send.send_id}")
        partition = int(send.send_id[-4:], 16)
        for _ in range(1 + (chance.random() < 0.2)):
            self._broker.append(
                partition, Produce(REPLAY_REQUESTS, send.user_id.encode(), encode_replay_request(request))
            )

    def _sends(self) -> list[Send]:
        found: dict[str, Send] = {}
        for record in self._broker.everything:
            if record.topic.startswith("notify_send_") and record.value is not None:
                read = read_send(record.value)
                if not isinstance(read, Withdraw) and read.channel != "in_app":
                    found[read.send_id] = read
        return list(found.values())

    def _unsent(self) -> set[str]:
        events = (json.loads(record.value or b"{}") for record in self._broker.of("notify_lifecycle"))
        return {event["send_id"] for event in events if event["status"] in ("failed", "expired", "unknown")}
