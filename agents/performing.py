"""Carries out a channel's calls: many at a time, a user's one after the other, and none on a look that has aged."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from agents.calls import FRESH_MS, Call, Result
from app.domain.outcome import LANE_FULL, Outcome, bounded
from app.ports import Urgency
from app.providers.gate import GatedClient
from app.providers.wire import has_left, stays
from app.streaming.crashing import is_armed, reach
from schemas.words import Provider

log = structlog.get_logger(__name__)

#: What a client may take beyond its own limit before it is cut off.
_MARGIN_S = 1.0
#: Of what a rate holds back, no more is taken in hand than may begin so soon: what waits in hand for longer than its
#: look is fresh would be claimed again and again. (The rest of that time is the claim's own way through a checkpoint.)
_SOON_S = 0.3
#: Into a call, for the crash point ``during_call``; the provider that a test runs against answers later than that.
_BYTES_ARE_OUT_S = 0.1


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class _Queue:
    """The calls of one user in one lane, in order."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


class Performing:
    """The Performer of a channel's role.

    Args:
        clients: the channel's providers, each behind its gate.
        limit: calls in hand at most.
        reserved: how many of them are kept for critical sends.
        clock: Unix milliseconds, the clock that claims are dated with.
        monotonic: seconds, a clock that nobody sets.
        on_error: called with the provider when its client raised, which is a bug of ours or an answer that nobody
            foresaw.
    """

    def __init__(
        self,
        clients: Mapping[Provider, GatedClient],
        *,
        limit: int,
        reserved: int,
        clock: Callable[[], int] = unix_ms,
        monotonic: Callable[[], float] = time.monotonic,
        on_error: Callable[[Provider], None] = lambda provider: None,
    ) -> None:
        self._clients = clients
        self._limit = limit
        self._reserved = reserved
        self._clock = clock
        self._monotonic = monotonic
        self._on_error = on_error
        self._in_hand = 0
        self._queues: dict[tuple[str, bool], _Queue] = {}

    def room(self, urgency: Urgency) -> int:
        """How many more calls may be begun now; critical ones whatever the providers' rates say, as they go first."""
        if urgency <= Urgency.CRITICAL:
            return max(0, self._limit - self._in_hand)
        return max(0, min(self._limit - self._reserved - self._in_hand, self._may_begin_soon()))

    def _may_begin_soon(self) -> int:
        """How many calls beside those in hand the providers' rates let begin."""
        gates = [gated.gate for gated in self._clients.values()]
        soon = sum(gate.may_begin(_SOON_S) for gate in gates)
        if soon == math.inf:
            return self._limit
        return math.floor(soon) - self._in_hand + sum(gate.in_flight for gate in gates)

    async def perform(self, call: Call) -> Result:
        """Makes the call and returns what came of it. Whatever a client raises is that call's outcome."""
        self._in_hand += 1
        try:
            return Result(call, await (self._send(call) if call.purpose == "send" else self._ask(call)))
        finally:
            self._in_hand -= 1

    def put_off(self, result: Result) -> Result:
        """A call that was not made is tried again later, and what was not found is asked after again."""
        if result.outcome is not None:
            return result
        if result.call.purpose == "ask":
            return Result(result.call, Outcome("in_doubt", doubt="connection_lost"))
        return Result(result.call, Outcome("throttle", code=LANE_FULL))

    async def _send(self, call: Call) -> Outcome | None:
        entered = self._monotonic()
        async with self._in_order(call):
            left_ms = self._fresh_for(call, entered)
            if left_ms <= 0:
                return None
            gated = self._clients[call.provider]
            async with gated.gate.slot(left_ms / 1000) as refusal:
                if refusal is not None:
                    # A lane that is merely full called nobody: the send looks again and stays where it is.
                    return None if refusal.code == LANE_FULL else refusal
                return gated.gate.record(await self._within(gated, call))

    async def _within(self, gated: GatedClient, call: Call) -> Outcome:
        timeout_s = call.timeout_ms / 1000
        reach("before_call")
        if is_armed("during_call"):
            asyncio.get_running_loop().call_later(_BYTES_ARE_OUT_S, reach, "during_call")
        stays()
        try:
            async with asyncio.timeout(timeout_s + _MARGIN_S):
                outcome = bounded(await gated.client.send(call.message, call.to, call.handle, timeout_s))
                reach("after_reply")
                return outcome
        except TimeoutError:
            return Outcome("in_doubt", doubt="timeout")
        except Exception as error:
            return self._unforeseen(call, error)

    def _unforeseen(self, call: Call, error: Exception) -> Outcome:
        """A call that may have reached the provider is in doubt, any other is tried again."""
        log.exception("a provider's client failed", provider=call.provider, purpose=call.purpose)
        self._on_error(call.provider)
        code = type(error).__name__
        if call.purpose == "ask" or has_left():
            return bounded(Outcome("in_doubt", code=code, doubt="connection_lost"))
        return bounded(Outcome("retry", code=code))

    async def _ask(self, call: Call) -> Outcome | None:
        timeout_s = call.timeout_ms / 1000
        try:
            async with asyncio.timeout(timeout_s + _MARGIN_S):
                found = await self._clients[call.provider].ask(call.message, call.to, call.handle, timeout_s)
                return None if found is None else bounded(found)
        except TimeoutError:
            return Outcome("in_doubt", doubt="timeout")  # it could not be asked, which is no evidence of absence
        except Exception as error:
            return self._unforeseen(call, error)

    def _fresh_for(self, call: Call, entered: float) -> float:
        """Milliseconds for which the call's last look still counts, and for which it isn't expired. A wall clock that
        was set back doesn't add any."""
        now = self._clock()
        known_at = call.claimed_at if call.known_at is None else call.known_at
        age_ms = max(now - known_at, (self._monotonic() - entered) * 1000)
        return min(FRESH_MS - age_ms, call.handle.expires_at_ms - now)

    @asynccontextmanager
    async def _in_order(self, call: Call) -> AsyncIterator[None]:
        """Pauses for the user's earlier calls; critical ones wait only for their like."""
        name = (call.user_id, call.urgent)
        queue = self._queues.setdefault(name, _Queue())
        queue.length += 1
        try:
            async with queue.lock:
                yield
        finally:
            queue.length -= 1
            if not queue.length:
                del self._queues[name]
