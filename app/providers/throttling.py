"""How many calls a second a provider takes, learnt from its refusals: additive increase, multiplicative decrease.

A provider that answers 429 gets half as many calls from then on. Then the rate creeps up, by a step that doubles with
each minute without another 429, until it is at what is allowed anyway. All times in seconds of one monotonic clock.
"""

from dataclasses import dataclass
from math import inf

#: What a refusal leaves of the rate.
_CUT = 0.5
#: Calls that were under way at a cut are refused, too: within this time the next refusals change nothing.
_ONE_CUT_S = 1.0
#: After this time without a refusal the rate has grown by about half of what it was before the cut.
_CREEP_S = 120.0
#: So often the step doubles.
_DOUBLES_S = 60.0
#: Never fewer: a provider that takes nothing at all opens its circuit breaker.
SLOWEST = 0.1
#: With nothing else to stop at, the rate is let go at so many times the highest that was refused.
_LET_GO = 2.0


@dataclass(slots=True)
class Throttle:
    """What one worker has learnt of one provider."""

    #: Right after the last cut; None: nothing was refused lately.
    _cut_to: float | None = None
    _cut_at: float = 0.0
    #: The rate just before the last cut, and the highest of those since the provider was last called without a limit.
    _before: float = 0.0
    _highest: float = 0.0
    #: Calls begun in the running second, and in the one before it.
    _second: int = 0
    _begun: int = 0
    _begun_before: int = 0

    def begin(self, now: float) -> None:
        """A call begins."""
        self._turn(now)
        self._begun += 1

    def refused(self, now: float, ceiling: float | None, begun: float = inf) -> bool:
        """The provider answered 429; ``ceiling``: calls a second that are allowed anyway; ``begun``: when the call did.
        Returns whether that was news: a refusal of a call from before the last cut, or right after it, is none."""
        if self._cut_to is not None and (now < self._cut_at + _ONE_CUT_S or begun <= self._cut_at):
            return False
        self._turn(now)
        rate = self.rate(now, ceiling)
        made = float(max(self._begun, self._begun_before, 1))
        self._before = made if rate is None else min(rate, max(made, SLOWEST))
        if self._cut_to is None:
            self._highest = 0.0
        self._highest = max(self._highest, self._before)
        self._cut_to = max(self._before * _CUT, SLOWEST)
        self._cut_at = now
        return True

    def rate(self, now: float, ceiling: float | None) -> float | None:
        """Calls a second at most; None: as many as are allowed anyway."""
        if self._cut_to is None:
            return None
        waited = max(0.0, now - self._cut_at)
        step = max(self._before, 1.0) / _CREEP_S
        rate = self._cut_to + step * waited * 2 ** min(waited / _DOUBLES_S, 60.0)
        if rate >= (self._highest * _LET_GO if ceiling is None else ceiling):
            self._cut_to = None
            return None
        return rate

    def _turn(self, now: float) -> None:
        """To the second that it is now."""
        second = int(now)
        if second != self._second:
            self._begun_before = self._begun if second == self._second + 1 else 0
            self._begun, self._second = 0, second
