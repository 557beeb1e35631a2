"""Providers that accept, refuse, throttle, lose answers and are late, and note in a ledger what they really did."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from app.domain.outcome import Outcome
from app.ports import Address, Handle, Message
from schemas.words import Channel, Provider
from tests.simulation.loop import VirtualLoop, context_of

#: What a call comes to, and how often while there is trouble.
_TROUBLES = {
    "accept": 30,
    "refuse": 10,
    "throttle": 8,
    "lost_after": 8,
    "lost_before": 8,
    "silent_after": 5,
    "silent_before": 5,
    "too_late": 4,
    "drop": 3,
    "dead_token": 2,
}
_KINDS, _WEIGHTS = list(_TROUBLES), list(_TROUBLES.values())


@dataclass(slots=True)
class Made:
    """One call that reached the provider. ``began``: the loop's seconds; ``wall``: Unix ms; ``accepted``: loop's
    seconds, None: it never was."""

    provider: Provider
    send_id: str
    to: str
    attempt: int
    began: float
    wall: int
    kind: str
    accepted: float | None = None


class Vendor:
    """See ``app.ports.ProviderClient``. ``can_be_asked``: it answers truthfully what it has accepted so far."""

    def __init__(
        self,
        name: Provider,
        channel: Channel,
        loop: VirtualLoop,
        chance: Random,
        clock: Callable[[], int],
        *,
        can_be_asked: bool,
    ) -> None:
        self.name, self.channel, self.can_be_asked = name, channel, can_be_asked
        self._loop, self._chance, self._clock = loop, chance, clock
        self._world = context_of(loop.world)
        self.ledger: list[Made] = []
        self.trouble = True
        self.busy = 0

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome:
        kind = self._chance.choices(_KINDS, _WEIGHTS)[0] if self.trouble else "accept"
        if kind == "dead_token" and self.channel != "push":
            kind = "refuse"
        made = Made(self.name, handle.send_id, to.value, handle.attempt, self._loop.time(), self._clock(), kind)
        self.ledger.append(made)
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        self.busy += 1
        delay = self._chance.random() ** 2 * 0.5
        if kind == "too_late":
            delay = timeout_s + self._chance.random() * 5
        self._loop.call_later(delay, self._arrive, made, answer, context=self._world)
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            return Outcome("in_doubt", doubt="timeout")

    async def ask(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome | None:
        await asyncio.sleep(self._chance.random() * 0.2)
        if self.trouble and self._chance.random() < 0.2:
            return Outcome("in_doubt", doubt="connection_lost")
        if not self.can_be_asked:
            return None
        found = any(made.send_id == handle.send_id and made.accepted is not None for made in self.ledger)
        return Outcome("ok", provider_message_id="found") if found else None

    def _arrive(self, made: Made, answer: "asyncio.Future[Outcome]") -> None:
        """The request is there, whatever has become of who sent it."""
        self.busy -= 1
        if made.kind in ("accept", "lost_after", "silent_after", "too_late"):
            made.accepted = self._loop.time()
        outcome = _ANSWERS.get(made.kind)
        if outcome is not None and not answer.done():
            answer.set_result(outcome)


_ANSWERS = {
    "accept": Outcome("ok", provider_message_id="m"),
    "refuse": Outcome("retry", code="503"),
    "throttle": Outcome("throttle", code="429", retry_after_ms=700),
    "lost_after": Outcome("in_doubt", doubt="connection_lost"),
    "lost_before": Outcome("in_doubt", doubt="connection_lost"),
    "drop": Outcome("drop", code="400"),
    "dead_token": Outcome("bad_token", code="410"),
}
