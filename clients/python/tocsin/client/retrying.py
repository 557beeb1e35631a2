"""When a call is made again, and for how long: decided from what came back, with time and chance as arguments."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Nothing was taken, whatever was asked for.
_REFUSED_FOR_NOW = (429,)
#: It may have been taken: only what can be asked for twice is asked for again. (408: the body stopped coming.)
_IN_DOUBT = (408, 502, 503, 504)


def backoff(
    first_s: float = 0.2, most_s: float = 10.0, chance: Callable[[], float] = random.random
) -> Callable[[int], float]:
    """Pauses that double from ``first_s`` to ``most_s``, each up to a half shorter: so that many clients that failed at
    once don't come back at once. Takes the number of attempts so far."""

    def pause_s(attempts: int) -> float:
        longest: float = min(most_s, first_s * 2.0 ** min(attempts - 1, 30))
        return longest * (0.5 + 0.5 * chance())

    return pause_s


@dataclass(frozen=True, slots=True)
class Retrying:
    """``attempts`` calls at most within ``total_s``, waits included; ``timeout_s`` is one attempt's. What the gateway
    asks for with Retry-After is waited for, up to ``retry_after_most_s``."""

    attempts: int = 8
    total_s: float = 60.0
    timeout_s: float = 20.0
    retry_after_most_s: float = 30.0
    pause_s: Callable[[int], float] = field(default_factory=backoff)

    def __post_init__(self) -> None:
        if self.attempts < 1 or min(self.total_s, self.timeout_s) <= 0 or self.retry_after_most_s < 0:
            raise ValueError("give at least one attempt, and times above 0")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How the caller's rate stands: requests that may come at once, that are left now, and seconds until all are
    there again."""

    limit: int
    remaining: int
    reset_s: float


def pause_after_answer(
    policy: Retrying,
    attempts: int,
    left_s: float,
    status: int,
    headers: Mapping[str, str],
    *,
    is_idempotent: bool,
    now: datetime,
) -> float | None:
    """Seconds until the next attempt; None: that was the last. ``headers``: by their names in lower case. ``left_s``:
    of the total time."""
    if status not in _REFUSED_FOR_NOW and not (is_idempotent and status in _IN_DOUBT):
        return None
    pause = policy.pause_s(attempts)
    asked = retry_after_s(headers, now)
    if asked is not None:
        pause = max(pause, min(asked, policy.retry_after_most_s))
    return _within(policy, attempts, left_s, pause)


def pause_after_failure(policy: Retrying, attempts: int, left_s: float, *, may_repeat: bool) -> float | None:
    """The same where no answer came. ``may_repeat``: it can be asked for twice, or surely wasn't taken."""
    return _within(policy, attempts, left_s, policy.pause_s(attempts)) if may_repeat else None


def _within(policy: Retrying, attempts: int, left_s: float, pause_s: float) -> float | None:
    return pause_s if attempts < policy.attempts and pause_s < left_s else None


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """What Retry-After asks for, in seconds or as a date; where it is missing, and the rate is used up, when that is
    over; None: nothing. Never negative."""
    given = headers.get("retry-after", "").strip()
    if given.isascii() and given.isdigit() and len(given) < 10:
        return float(given)
    if given:
        try:
            at = parsedate_to_datetime(given)
        except (ValueError, IndexError, OverflowError):
            return None
        return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())
    standing = rate_limit(headers)
    return standing.reset_s if standing is not None and standing.remaining == 0 else None


def rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """None where the answer doesn't say."""
    given = [headers.get(f"ratelimit-{name}", "").strip() for name in ("limit", "remaining", "reset")]
    if not all(each.isascii() and each.isdigit() and len(each) < 10 for each in given):
        return None
    limit, remaining, reset = map(int, given)
    return RateLimit(limit, remaining, float(reset))
