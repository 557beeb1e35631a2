"""How often somebody may call: token buckets by name, and what the headers say of them."""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: Names beyond it push out the one that was used longest ago, so that memory stays bounded.
_MOST_NAMES = 20_000


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second in the long run, and ``burst`` at once."""

    per_s: float
    burst: int

    @classmethod
    def of(cls, per_s: float) -> "Rate":
        """With a second's worth at once."""
        return cls(per_s, max(1, math.ceil(per_s)))


@dataclass(frozen=True, slots=True)
class Standing:
    """What a bucket holds after it was asked. ``allowed``: whether it gave what was asked for."""

    allowed: bool
    limit: int
    remaining: int
    #: Seconds until it is full, and until it gives again.
    reset_s: int
    retry_after_s: int

    @property
    def headers(self) -> Mapping[str, str]:
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_s),
        }


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Rates:
    """The buckets of many. ``clock``: seconds that never go back."""

    def __init__(self, clock: Callable[[], float], most_names: int = _MOST_NAMES) -> None:
        self._clock = clock
        self._most_names = most_names
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, name: str, rate: Rate, cost: int = 1, *, insist: bool = False) -> Standing:
        """Takes ``cost`` where the bucket holds one at least: who takes more than there is waits longer afterwards.
        ``insist``: takes it in any case, as for a part of what was allowed already."""
        now = self._clock()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(rate.burst, now)
            if len(self._buckets) > self._most_names:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
        bucket.tokens = min(rate.burst, bucket.tokens + (now - bucket.at) * rate.per_s)
        bucket.at = now
        allowed = insist or bucket.tokens >= 1
        if allowed:
            bucket.tokens -= cost
        return _standing(allowed, bucket.tokens, rate)


def _standing(allowed: bool, tokens: float, rate: Rate) -> Standing:
    return Standing(
        allowed,
        rate.burst,
        max(0, math.floor(tokens)),
        math.ceil((rate.burst - tokens) / rate.per_s),
        max(1, math.ceil((1 - tokens) / rate.per_s)),
    )
