"""What stands before a provider: its rates, its concurrency and its breaker; one lane's trouble stays its own."""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from app.domain.outcome import AT_CAPACITY, CIRCUIT_OPEN, Outcome
from app.ports import Address, Handle, Message, ProviderClient
from app.providers.breaker import Breaker, Cause
from app.providers.throttling import Throttle
from schemas.providers import LimitedBy, ProviderState
from schemas.words import Provider

#: Seconds that ``GatedClient.send`` waits for a slot: what was looked up before the call must stay fresh.
WAIT_S = 0.5

#: Told the provider, and why its lane rests (None: it works again).
OnChange = Callable[[Provider, Cause | None], None]


#: Calls are spread: at most what this part of a second brings begins at once (and always one).
_AT_ONCE_S = 0.1
#: What is critical goes beyond a plan to warm up; the rest makes up for it, for so many seconds at most.
_MADE_UP_S = 86_400.0
#: A shorter wait may end before any clock has moved.
_SHORTEST_WAIT_S = 0.001


@dataclass(slots=True)
class Bucket:
    """A token bucket: ``rate`` calls a second, at most ``burst`` at once. ``debt``: tokens at most that are missing
    after calls that didn't wait for theirs."""

    rate: float
    burst: float
    debt: float
    level: float
    at: float

    @classmethod
    def of(cls, rate: float, at: float, debt_s: float = 0.0) -> Self:
        """Full. ``rate``: calls a second. ``debt_s``: the debt, as the seconds in which it is made up for."""
        burst = max(1.0, rate * _AT_ONCE_S)
        return cls(rate, burst, max(burst, rate * debt_s), burst, at)

    def take(self, now: float) -> float:
        """Takes a token and returns 0, or the seconds until there is one."""
        self.level = self.refilled(now)
        self.at = now
        if self.level < 1:
            return max((1 - self.level) / self.rate, _SHORTEST_WAIT_S)
        self.level -= 1
        return 0.0

    def refilled(self, now: float) -> float:
        """The tokens that there are now."""
        return min(self.burst, self.level + (now - self.at) * self.rate)

    def spend(self, now: float) -> None:
        """Takes a token that there may not be: the next one comes so much later."""
        self.level = max(self.refilled(now) - 1, -self.debt)
        self.at = now


def _changed(
    bucket: Bucket | None, rate: float | None, now: float, level: float = 1.0, debt_s: float = 0.0
) -> Bucket | None:
    """One of another rate, with the tokens that there are, at first ``level``; None: no limit."""
    if rate is None:
        return None
    changed = Bucket.of(rate, now, debt_s)
    changed.level = max(min(changed.level, level if bucket is None else bucket.refilled(now)), -changed.debt)
    return changed


class Gate:
    """Slots of one lane. Whoever waits is served in turn.

    Args:
        concurrency: calls in flight at most.
        rate: calls a second at most, whatever ``limit`` says; None for no limit.
        clock: seconds, monotonic.
        on_change: told when the breaker opens and closes.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        concurrency: int,
        rate: float | None = None,
        breaker: Breaker | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_change: OnChange | None = None,
    ) -> None:
        self.provider = provider
        self.breaker = breaker or Breaker()
        self._concurrency = concurrency
        self._clock = clock
        self._on_change = on_change
        self._own_rate = rate
        self._policy_rate: float | None = None
        self._throttle = Throttle()
        #: By hand: nothing begins, not even a probe, until it is resumed.
        self.paused = False
        self._bucket = Bucket.of(rate, clock()) if rate else None
        #: What refusals leave, and a plan to warm a new domain up. What is critical takes from both, and waits for
        #: neither: else whoever brings refusals about would hold it up.
        self._learnt: Bucket | None = None
        self._plan: Bucket | None = None
        self._in_flight = 0
        #: Resolved with None for a slot, or with the refusal.
        self._waiting: deque[asyncio.Future[Outcome | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def slot(self, wait_s: float) -> AsyncIterator[Outcome | None]:
        """Holds a slot and yields None, or yields the refusal (``throttle``) when the lane rests or is full for
        ``wait_s`` seconds. Tell ``record`` what the call in the slot came to."""
        refusal = await self._enter(wait_s)
        if refusal is not None:
            yield refusal
            return
        try:
            yield None
        finally:
            self._leave()

    @property
    def rate(self) -> float | None:
        """Calls a second at most, now."""
        self._adapt(self._clock())
        rates = [bucket.rate for bucket in (self._bucket, self._learnt, self._plan) if bucket is not None]
        return min(rates, default=None)

    @property
    def limited_by(self) -> LimitedBy | None:
        """What the rate follows from; None: there is none."""
        rate = self.rate
        if rate is None:
            return None
        if self._plan is not None and self._plan.rate <= rate:
            return "warm_up"
        return "limit" if rate == self._allowed else "throttling"

    @property
    def in_flight(self) -> int:
        """Calls that hold a slot."""
        return self._in_flight

    @property
    def state(self) -> tuple[ProviderState, Cause | None]:
        """Now, and for an open breaker its cause."""
        if self.paused:
            return "paused", None
        if self.breaker.cause is not None:
            return "open", self.breaker.cause
        return ("closed" if self.breaker.share(self._clock()) >= 1 else "recovering"), None

    @property
    def room(self) -> int:
        """Calls that may be in flight now."""
        now = self._clock()
        return 1 if self.breaker.cause is not None else max(1, math.floor(self._concurrency * self.breaker.share(now)))

    @property
    def taken(self) -> int:
        """How many are, or wait for a slot."""
        return self._in_flight + len(self._waiting)

    @property
    def is_shut(self) -> bool:
        """Whether nothing may begin, not even a probe."""
        return self.paused or self.breaker.rests(self._clock())

    def wait_ms(self) -> int:
        """How long what is refused should stay away."""
        return round(self.breaker.wait_s(self._clock()) * 1000)

    def refusal(self) -> Outcome:
        """Of what may not begin while the circuit is open, or the provider is paused."""
        open_for_s = None if self.paused else self.breaker.open_for_s(self._clock())
        return Outcome(
            "throttle",
            code=CIRCUIT_OPEN,
            retry_after_ms=self.wait_ms(),
            open_for_ms=None if open_for_s is None else round(open_for_s * 1000),
        )

    def pause(self) -> None:
        """Until it is resumed nothing begins. Calls under way end, and their outcomes count."""
        self.paused = True
        self._admit()

    def resume(self) -> None:
        """The load grows again as after an outage. An open breaker stays open."""
        if self.paused:
            self.paused = False
            self.breaker.begin_ramp(self._clock())
            self._admit()

    def may_begin(self, within_s: float, *, urgent: bool = True, planned: bool = True) -> float:
        """How many more calls its rates let begin within so many seconds. What is ``urgent`` is held back by what is
        allowed alone, not by refusals or a plan to warm up; what isn't ``planned`` doesn't wait for the plan."""
        now = self._clock()
        buckets = self._buckets(now, urgent=urgent, planned=planned)
        return min((each.refilled(now) + each.rate * within_s for each in buckets), default=math.inf)

    def next_begins_in_s(self, *, urgent: bool = True, planned: bool = True) -> float:
        """Seconds until its rates let one more call begin. See ``may_begin``."""
        now = self._clock()
        buckets = self._buckets(now, urgent=urgent, planned=planned)
        return max((max(0.0, 1 - each.refilled(now)) / each.rate for each in buckets), default=0.0)

    def _buckets(self, now: float, *, urgent: bool, planned: bool) -> Sequence[Bucket]:
        """Those that hold back what is or isn't urgent, and planned."""
        self._adapt(now)
        held_by = (self._bucket, None if urgent else self._learnt, self._plan if planned and not urgent else None)
        return [bucket for bucket in held_by if bucket is not None]

    def has_warmed_enough(self, beside: int = 0) -> bool:
        """Whether the plan to warm up lets nothing more begin now, beside so many that are about to."""
        return self._plan is not None and self._plan.refilled(self._clock()) - beside < 1

    @property
    def is_slow(self) -> bool:
        """Whether so little may begin that what waits for it should wait in the tables, where it expires in time."""
        learnt = self._learnt
        is_cut = learnt is not None and learnt.rate < 1 and learnt.refilled(self._clock()) < 1
        return is_cut or self.has_warmed_enough()

    def limit(self, rate: float | None) -> None:
        """From now on at most so many calls a second too; None: no more than the gate's own rate says."""
        self._policy_rate = rate
        self._adapt(self._clock())
        self._admit()

    def warm_up(self, rate: float | None, level: float = 1.0) -> None:
        """From now on at most so many calls a second that aren't urgent; None: there is no plan. ``level``: of a call,
        what there is of it at first."""
        if rate != (self._plan.rate if self._plan is not None else None):
            self._plan = _changed(self._plan, rate, self._clock(), level, _MADE_UP_S)

    @property
    def _allowed(self) -> float | None:
        """Calls a second, by our own word alone."""
        return min((each for each in (self._policy_rate, self._own_rate) if each), default=None)

    def _adapt(self, now: float) -> None:
        """To what is allowed, and to what the provider takes."""
        allowed = self._allowed
        if allowed != (self._bucket.rate if self._bucket is not None else None):
            self._bucket = _changed(self._bucket, allowed, now)
        learnt = self._throttle.rate(now, allowed)
        if learnt != (self._learnt.rate if self._learnt is not None else None):
            self._learnt = _changed(self._learnt, learnt, now)

    def record(self, outcome: Outcome, begun: float = math.inf) -> Outcome:
        """Feeds the breaker; returns the outcome to believe (see ``Breaker.record``). ``begun``: when the call did, on
        the gate's clock.

        A provider that takes fewer calls works: each cut of the rate counts as one failure, however many calls were
        refused at once.
        """
        before = self.breaker.cause
        if outcome.kind == "throttle" and outcome.scope == "lane" and before is None:
            if not self._throttle.refused(self._clock(), self._allowed, begun):
                return outcome
            self._adapt(self._clock())
        judged = self.breaker.record(outcome, self._clock())
        if self.breaker.cause != before and self._on_change is not None:
            self._on_change(self.provider, self.breaker.cause)
        return judged

    async def _enter(self, wait_s: float) -> Outcome | None:
        turn: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        try:
            async with asyncio.timeout(wait_s):
                return await turn
        except TimeoutError:
            came = turn.done() and not turn.cancelled()
            return turn.result() if came else Outcome("throttle", code=AT_CAPACITY, retry_after_ms=1000)
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result() is None:
                self._leave()
            raise

    def _leave(self) -> None:
        self._in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        """Answers those who wait, in turn, as far as can be told now; called whenever something changed."""
        while self._waiting:
            now = self._clock()
            if self._waiting[0].done():  # gave up
                self._waiting.popleft()
            elif self.paused or self.breaker.rests(now):
                self._waiting.popleft().set_result(self.refusal())
            elif pause_s := self._pause_s(now):
                self._admit_in(pause_s)
                return
            else:
                self.breaker.begin(now)
                self._throttle.begin(now)
                if self._learnt is not None:
                    self._learnt.spend(now)
                if self._plan is not None:
                    self._plan.spend(now)
                self._in_flight += 1
                self._waiting.popleft().set_result(None)

    def _pause_s(self, now: float) -> float:
        """Seconds until it is worth asking again; 0: there is room, and a place in the rate is taken."""
        room = max(1, math.floor(self._concurrency * self.breaker.share(now)))
        if self._in_flight >= room:
            return math.inf if room == self._concurrency else 1.0  # a recovering lane's room grows by itself
        self._adapt(now)
        return self._bucket.take(now) if self._bucket else 0.0

    def _admit_in(self, pause_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._admit) if pause_s < math.inf else None


class GatedClient:
    """A provider's client behind its gate, itself a client.

    A sender that looks something up just before the call takes the slot first: ``async with gated.gate.slot(…)``,
    then looks, then ``gated.gate.record(await gated.client.send(…))``.
    """

    def __init__(self, client: ProviderClient, gate: Gate) -> None:
        self.client = client
        self.gate = gate
        self.name = client.name
        self.channel = client.channel

    async def start(self) -> None:
        await self.client.start()

    async def send(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome:
        """As the client's, or ``throttle`` without a call when there is no slot."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        async with self.gate.slot(min(WAIT_S, timeout_s / 2)) as refusal:
            if refusal is not None:
                return refusal
            return self.gate.record(await self.client.send(message, to, handle, ends_at - loop.time()))

    async def ask(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome | None:
        return await self.client.ask(message, to, handle, timeout_s)

    async def close(self) -> None:
        await self.client.close()
