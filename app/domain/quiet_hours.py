"""Quiet hours: when a night holds what would ring, and when it ends (docs/policy.md#quiet-hours)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from hashlib import blake2b

from app.domain.zones import DAY_MS, first_moment
from schemas.words import Channel

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = 0b1111111

_EPOCH = date(1970, 1, 1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Hours:
    """Nightly hours on the wall clock. ``start`` and ``end``: minutes of the day, start inclusive, end exclusive.
    ``days``: a bit for each day on which a night begins, Monday lowest."""

    start: int
    end: int
    days: int = EVERY_DAY
    channels: frozenset[Channel] = frozenset(("push", "sms"))
    spread_ms: int = 0


def minutes_of(time: str) -> int:
    """``22:00`` as minutes of the day; raises ValueError for what isn't HH:MM."""
    if len(time) != 5 or time[2] != ":" or not (time[:2] + time[3:]).isdecimal() or not time.isascii():
        raise ValueError(f"{time!r} isn't HH:MM")
    hours, minutes = int(time[:2]), int(time[3:])
    if hours > 23 or minutes > 59:
        raise ValueError(f"{time!r} is no time of the day")
    return hours * 60 + minutes


def days_mask(days: Iterable[str]) -> int:
    """Names of days as the bits of ``Hours.days``; raises ValueError for another name."""
    return sum({1 << DAYS.index(day) for day in days})


def hold_until(hours: Hours, zone: str, now_ms: int) -> int | None:
    """When the night that ``now_ms`` lies in ends (Unix ms); None: it isn't quiet now."""
    for begins, ends in _nights(zone, hours.start, hours.end, hours.days, now_ms // DAY_MS):
        if begins <= now_ms < ends:
            return ends
    return None


def spread_offset_ms(spread_ms: int, user_id: str) -> int:
    """How long after the night's end a user's holds are let go: the same for all of the user's, 0 to ``spread_ms``."""
    if spread_ms <= 0:
        return 0
    return int.from_bytes(blake2b(user_id.encode(), digest_size=8).digest(), "big") % spread_ms


@lru_cache(maxsize=8192)
def _nights(zone: str, start: int, end: int, days: int, day: int) -> tuple[tuple[int, int], ...]:
    """The nights around a UTC day as (begin, end) in Unix ms; nights that touch are one."""
    nights: list[tuple[int, int]] = []
    for offset in range(-3, 4):
        midnight = datetime.combine(_EPOCH + (day + offset) * _DAY, time())
        if not days >> midnight.weekday() & 1:
            continue
        begins = first_moment(zone, midnight + timedelta(minutes=start))
        ends = first_moment(zone, midnight + timedelta(minutes=end) + (_DAY if end <= start else timedelta()))
        if nights and begins <= nights[-1][1]:
            begins, ends = nights[-1][0], max(ends, nights.pop()[1])
        if begins < ends:
            nights.append((begins, ends))
    return tuple(nights)
