"""When a lane to a provider must rest: a circuit breaker as pure state, told the time by its caller."""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal, get_args

from app.domain.outcome import Outcome

#: Why a lane rests: the provider fails · it refuses our settings · so many addresses are dead that the settings are
#: suspect (a sandbox token sent to production looks exactly like a dead one).
Cause = Literal["outage", "config", "tokens"]
CAUSES: tuple[Cause, ...] = get_args(Cause)

#: Waits told to refused sends, seconds.
SHORTEST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0


@dataclass(slots=True)
class Breaker:
    """One lane's health. All times in seconds of one monotonic clock.

    Opens after ``failures_to_open`` failures in a row, at the first refusal of our settings, or when dead addresses
    abound; then lets one probe through every ``probe_every_s``. The first success closes it, and the share of the
    lane's capacity grows from nothing to all over ``ramp_s``.
    """

    failures_to_open: int = 10
    probe_every_s: float = 1.0
    ramp_s: float = 60.0
    #: The lane rule: dead addresses in a row, or among the last ``window``, that make the settings suspect.
    dead_in_a_row: int = 50
    dead_share: float = 0.2
    window: int = 200

    cause: Cause | None = None
    _failures: int = 0
    _opened_at: float = 0.0
    _next_probe_at: float = 0.0
    _closed_at: float | None = None
    _dead: deque[bool] = field(default_factory=deque)
    _dead_run: int = 0

    def rests(self, now: float) -> bool:
        """Whether no call may begin, not even a probe."""
        return self.cause is not None and now < self._next_probe_at

    def begin(self, now: float) -> None:
        """A call begins: while open it is the probe, and the next one must wait."""
        self._next_probe_at = now + self.probe_every_s

    def wait_s(self, now: float) -> float:
        """How long a refused send should stay away: about as long again as the lane has rested."""
        return min(max(now - self._opened_at, SHORTEST_WAIT_S), LONGEST_WAIT_S)

    def open_for_s(self, now: float) -> float | None:
        """For how long it has been open; None: it isn't."""
        return None if self.cause is None else now - self._opened_at

    def share(self, now: float) -> float:
        """The part of the lane's capacity that may be used, 0 to 1."""
        if self._closed_at is None:
            return 1.0
        return min(1.0, (now - self._closed_at) / self.ramp_s)

    def begin_ramp(self, now: float) -> None:
        """Nobody was called for a while: the load grows from nothing, as after an outage."""
        self._closed_at = now

    def record(self, outcome: Outcome, now: float) -> Outcome:
        """Learns from an outcome and returns what to believe of it: a dead address of a suspect lane is ``config``,
        so that nobody retires it.

        Whatever is about the recipient alone proves that the provider answers, and takes our settings. A message that
        can't work proves nothing: a proxy that refuses everything says the same. As a probe it doesn't count, so that
        many such messages don't keep the circuit open.
        """
        match outcome.kind:
            case _ if not outcome.called:
                self._next_probe_at = min(self._next_probe_at, now)
            case "ok":
                if self._abound():
                    self._dead.clear()
                self._remember(dead=False)
                self._close(now)
            case "bad_token":
                return self._judge_dead(outcome, now)
            case _ if outcome.is_about_recipient:
                if not self._abound():
                    self._close(now)
            case "config":
                self._open("config", now)
            case "drop":
                self._next_probe_at = min(self._next_probe_at, now)
            case "retry" | "throttle" | "in_doubt":
                self._failures += 1
                if self._failures >= self.failures_to_open:
                    self._open("outage", now)
        return outcome

    def _judge_dead(self, outcome: Outcome, now: float) -> Outcome:
        self._remember(dead=True)
        if self._abound():
            self._open("tokens", now)
            return Outcome("config", code=outcome.code)
        self._close(now)  # the provider answers, and takes our settings
        return outcome

    def _remember(self, *, dead: bool) -> None:
        self._dead_run = self._dead_run + 1 if dead else 0
        self._dead.append(dead)
        if len(self._dead) > self.window:
            self._dead.popleft()

    def _abound(self) -> bool:
        """Whether there are so many dead addresses that the settings are suspect. Only an accepted send clears that,
        whatever else opens the circuit meanwhile."""
        full = len(self._dead) == self.window
        return self._dead_run >= self.dead_in_a_row or (full and sum(self._dead) > self.window * self.dead_share)

    def _open(self, cause: Cause, now: float) -> None:
        if self.cause is None:
            self._opened_at = now
            self._next_probe_at = now + self.probe_every_s
        self.cause = cause

    def _close(self, now: float) -> None:
        self._failures = 0
        if self.cause is None:
            return
        self.cause = None
        self._closed_at = now
