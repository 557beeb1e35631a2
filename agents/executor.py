"""Makes a channel's provider calls, many at a time, and says how many more there is capacity for."""

import asyncio
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog

from agents.sender.calls import FRESH_MS, Call, Result, Seen
from app.domain.outcome import AT_CAPACITY, WARMING_UP, Outcome, OutcomeKind, bounded
from app.ports import CallExecutor, Urgency
from app.providers.gate import GatedClient
from app.providers.wire import QUESTIONS, has_left, stays, watch_statuses
from app.streaming.failpoints import is_armed, reach
from schemas.words import Provider

log = structlog.get_logger(__name__)

#: What a client may take beyond its own limit before it is cut off.
_MARGIN_S = 1.0
#: A call for which a rate will have a token so soon may be claimed: that long its claim takes to become durable.
_SOON_S = 0.05
#: After so long the preparation of a call is over, and it costs no more than its provider's slot.
_PREPARED_S = 0.25
#: A slot is kept so long for a call whose claim isn't durable yet. (A claim may be rolled back.)
_KEPT_S = 10.0
#: Whoever a rate holds back asks again when it has a token, and at least once a second (agents/sender/dispatch.py);
#: until so long after that nothing new is read that would go after it.
_ASKS_WITHIN_S, _PRECEDENCE_S = 1.0, 0.3
#: The part of a provider's slots that is kept for critical sends.
_RESERVED_SLOTS = 0.2
#: Into a call, for the crash point ``during_call``; the provider that a test runs against answers later than that.
_BYTES_ARE_OUT_S = 0.1


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


class GatedExecutor(CallExecutor[Call, Result]):
    """The Performer of a channel's role.

    Args:
        clients: the channel's providers, each behind its gate.
        limit: calls in preparation at most: the client's CPU bounds how many can begin while their look is fresh. Those
            that wait for their answers are bounded by their provider's concurrency alone.
        reserved: how many of them are kept for critical sends.
        clock: Unix milliseconds, the clock that claims are dated with.
        monotonic: seconds, a clock that nobody sets.
        on_call: called with each call to send that ended: its provider, the kind of its outcome, and its seconds.
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
        on_call: Callable[[Provider, OutcomeKind, float], None] = lambda provider, kind, seconds: None,
        on_error: Callable[[Provider], None] = lambda provider: None,
    ) -> None:
        self._clients = clients
        self._limit = limit
        self._reserved = reserved
        self._clock = clock
        self._monotonic = monotonic
        self._on_call = on_call
        self._on_error = on_error
        #: Questions are bounded apart from sends, which wait for slots.
        self._questions = {name: asyncio.Semaphore(QUESTIONS) for name in clients}
        self._preparing = 0
        #: The slots that are kept: by claim, the provider and until when.
        self._kept: OrderedDict[tuple[bytes, int], tuple[Provider, float]] = OrderedDict()
        self._kept_by: Counter[Provider] = Counter()
        #: Until when those go first that a provider's rate holds back: what isn't bulk, and what is.
        self._preceded: dict[tuple[Provider, bool], float] = {}

    def room(self, urgency: Urgency) -> int:
        """For how many more calls, to one provider or another, there is room now; of critical ones those are counted
        that a rate holds back, as they go first. Receipts and what falls due wait for no provider: a call that they
        bring takes a slot, or its place among those that wait for one."""
        self._let_go()
        if urgency <= Urgency.CRITICAL:
            return self._prepared(urgent=True)
        if urgency <= Urgency.RECEIPTS:
            return self._prepared(urgent=False)
        is_bulk = urgency >= Urgency.BULK
        return max((self._readable(provider, bulk=is_bulk) for provider in self._clients), default=0)

    def take(
        self, provider: Provider, claim: tuple[bytes, int], *, urgent: bool, bulk: bool = False, planned: bool = True
    ) -> Outcome | None:
        """See ``agents.sender.context.Slots``."""
        gate = self._clients[provider].gate
        if gate.is_shut:
            return gate.refusal()
        self._let_go()
        self._release(claim)
        if self._room(provider, urgent=urgent, planned=planned) <= 0:
            wait_s = gate.next_begins_in_s(urgent=urgent, planned=planned)
            if self._tokens(provider, urgent=urgent, planned=planned) < 1:
                self._preceded[provider, bulk] = self._monotonic() + min(wait_s, _ASKS_WITHIN_S) + _PRECEDENCE_S
            return self._refusal(provider, wait_s, urgent=urgent)
        if not urgent:
            self._preceded.pop((provider, bulk), None)
        self._kept[claim] = (provider, self._monotonic() + _KEPT_S)
        self._kept_by[provider] += 1
        return None

    def _readable(self, provider: Provider, *, bulk: bool) -> int:
        """For one that isn't called now, sends are read all the same: they are held, or go to another. Nothing is read
        that would overtake what a rate holds back; what isn't bulk goes before all that is."""
        gate = self._clients[provider].gate
        if gate.paused or gate.breaker.cause is not None or gate.is_slow:
            return self._prepared(urgent=False)
        before = [(provider, False), (provider, True)] if bulk else [(provider, False)]
        until = max(self._preceded.get(each, 0.0) for each in before)
        return 0 if self._monotonic() < until else self._room(provider, urgent=False)

    def _prepared(self, *, urgent: bool) -> int:
        """How many more calls may be prepared, whatever their providers take."""
        return max(0, self._limit - self._preparing - len(self._kept) - (0 if urgent else self._reserved))

    def _refusal(self, provider: Provider, wait_s: float, *, urgent: bool) -> Outcome:
        """While a probe is under way nothing waits for its slot: another provider is called, or the send is held.
        ``wait_s``: until the rates let a call begin."""
        gate = self._clients[provider].gate
        if gate.breaker.cause is not None:
            return gate.refusal()
        is_planned = not urgent and gate.has_warmed_enough(self._about_to_begin(provider))
        code = WARMING_UP if is_planned else AT_CAPACITY
        return Outcome("throttle", code=code, retry_after_ms=math.ceil(wait_s * 1000))

    def _about_to_begin(self, provider: Provider) -> int:
        """Calls that have yet to take their place in the rates."""
        gate = self._clients[provider].gate
        return self._kept_by[provider] + gate.taken - gate.in_flight

    def _room(self, provider: Provider, *, urgent: bool, planned: bool = True) -> int:
        gate = self._clients[provider].gate
        reserved = 0 if urgent else math.floor(gate.room * _RESERVED_SLOTS)
        slots = gate.room - gate.taken - self._kept_by[provider] - reserved
        tokens = self._tokens(provider, urgent=urgent, planned=planned)
        return max(0, math.floor(min(self._prepared(urgent=urgent), slots, tokens)))

    def _tokens(self, provider: Provider, *, urgent: bool, planned: bool) -> float:
        """How many more calls its rates let begin soon."""
        gate = self._clients[provider].gate
        return gate.may_begin(_SOON_S, urgent=urgent, planned=planned) - self._about_to_begin(provider)

    def _let_go(self) -> None:
        """Of slots that were kept for calls that don't come."""
        now = self._monotonic()
        while self._kept and next(iter(self._kept.values()))[1] <= now:
            self._release(next(iter(self._kept)))

    def _release(self, claim: tuple[bytes, int]) -> None:
        kept = self._kept.pop(claim, None)
        if kept is not None:
            self._kept_by[kept[0]] -= 1

    async def perform(self, call: Call) -> Result:
        """Makes the call and returns what came of it. Whatever a client raises is that call's outcome."""
        self._release((call.key, call.number))
        seen = Seen() if call.traced else None
        with self._preparation():
            outcome = await (self._send(call, seen) if call.purpose == "send" else self._ask(call, seen))
            return Result(call, outcome, seen=seen)

    @contextmanager
    def _preparation(self) -> Iterator[None]:
        """For a while after its begin a call counts as being prepared."""
        waits = {True}

        def over() -> None:
            if waits:
                waits.clear()
                self._preparing -= 1

        self._preparing += 1
        timer = asyncio.get_running_loop().call_later(_PREPARED_S, over)
        try:
            yield
        finally:
            timer.cancel()
            over()

    def put_off(self, result: Result) -> Result:
        """A call that was not made is tried again later, what was not found is asked after again, and nothing more is
        dispatched."""
        outcome = result.outcome
        if outcome is None:
            asked = result.call.purpose == "ask"
            outcome = Outcome("in_doubt", doubt="connection_lost") if asked else Outcome("throttle", code=AT_CAPACITY)
        return Result(result.call, outcome, calls=False, seen=result.seen)

    async def _send(self, call: Call, seen: Seen | None) -> Outcome | None:
        left_ms = self._fresh_for(call, self._monotonic())
        if left_ms <= 0:
            return None
        gated = self._clients[call.provider]
        async with gated.gate.slot(left_ms / 1000) as refusal:
            if refusal is not None:
                # A lane that is merely full called nobody: the send looks again and stays where it is.
                return None if refusal.code == AT_CAPACITY else refusal
            began = self._monotonic()
            statuses = self._begins(seen)
            outcome = await self._within(gated, call)
            self._ended(seen, statuses)
            if not call.suspect or outcome.kind != "in_doubt":  # else it is its address that is silent
                outcome = gated.gate.record(outcome, began)
            self._on_call(call.provider, outcome.kind, self._monotonic() - began)
            return outcome

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

    def _begins(self, seen: Seen | None) -> Sequence[int]:
        if seen is None:
            return ()
        seen.began_ms = self._clock()
        return watch_statuses()

    def _ended(self, seen: Seen | None, statuses: Sequence[int]) -> None:
        if seen is not None:
            seen.ended_ms, seen.http_status = self._clock(), statuses[-1] if statuses else None

    async def _ask(self, call: Call, seen: Seen | None) -> Outcome | None:
        statuses = self._begins(seen)
        found = await self._asked(call)
        self._ended(seen, statuses)
        return found

    async def _asked(self, call: Call) -> Outcome | None:
        timeout_s = call.timeout_ms / 1000
        try:
            async with asyncio.timeout(timeout_s + _MARGIN_S), self._questions[call.provider]:
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
        since = entered if call.fresh_since is None else call.fresh_since
        age_ms = max(now - known_at, (self._monotonic() - since) * 1000)
        return min(FRESH_MS - age_ms, call.handle.expires_at_ms - now)
