"""Wall clocks: what time it is in an IANA zone, and when a wall clock first reads a time."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


#: What tzdata may list that is the time of no place: of a machine that isn't set up, of whoever reads it; and copies of
#: all zones, with leap seconds and without.
_NO_PLACE = frozenset(("Factory", "localtime", "posixrules"))
_NO_REGION = frozenset(("posix", "right", "SystemV"))


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every IANA zone there is. Files of tzdata that are none (``posixrules``, ``leapseconds``) aren't among them."""
    return frozenset(name for name in _listed() if name not in _NO_PLACE and name.split("/")[0] not in _NO_REGION)


@lru_cache(maxsize=1)
def _listed() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="ascii").split())


def is_zone(name: str) -> bool:
    return name in zone_names()


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """The zone's rules from the pinned tzdata, the same on every machine. Raises ValueError for an unknown name."""
    if name not in _listed():  # (what was taken by an earlier revision is still known)
        raise ValueError(f"{name!r} is not an IANA time zone")
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


def local_time(zone: str, ms: int) -> datetime:
    """What the wall clock reads, without its zone."""
    return datetime.fromtimestamp(ms / 1000, zone_of(zone)).replace(tzinfo=None)


def first_moment(zone: str, wall: datetime) -> int:
    """Unix milliseconds of the first moment at which the wall clock reads ``wall`` or later.

    A time that the clock skips is passed when the gap ends; one that it shows twice counts the first time.
    """
    rules = zone_of(zone)
    before = _seconds(wall.replace(tzinfo=rules, fold=0))
    after = _seconds(wall.replace(tzinfo=rules, fold=1))
    return (_end_of_gap(rules, wall, after, before) if after < before else before) * 1000


def next_local_time(zone: str, since_ms: int, minute: int) -> int:
    """Unix milliseconds of the first moment at or after ``since_ms`` at which the wall clock reads that minute of a
    day, or has just passed it in a gap."""
    day = local_time(zone, since_ms).replace(hour=0, minute=0, second=0, microsecond=0, fold=0) - _DAY
    while True:
        moment = first_moment(zone, day + timedelta(minutes=minute))
        if moment >= since_ms:
            return moment
        day += _DAY


def next_minute(zone: str, after_ms: int, minute: int) -> int:
    """Unix milliseconds of the first moment after ``after_ms`` at which the wall clock reads that minute of an hour.

    In an hour that the clock shows twice it does so twice; a time that it skips is passed when the gap ends.
    """
    rules, start = zone_of(zone), after_ms // 1000 + 1
    offset = _offset(rules, start - 1)
    found = _next_in_hour(start, offset, minute)
    if _offset(rules, found) == offset:
        return found * 1000
    changes, new = start - 1, found  # bisects changes < moment <= new for the first second with another offset
    while new - changes > 1:
        middle = (changes + new) // 2
        if _offset(rules, middle) == offset:
            changes = middle
        else:
            new = middle
    after = _offset(rules, new)
    if _next_in_hour(new, offset, minute) < new + after - offset:
        return new * 1000  # the gap skips it
    return _next_in_hour(new, after, minute) * 1000


def _next_in_hour(second: int, offset: int, minute: int) -> int:
    """The first second from there on at which a clock with that offset reads the minute."""
    return second + (minute * 60 - second - offset) % 3600


def _offset(rules: ZoneInfo, second: int) -> int:
    """How many seconds the wall clock is ahead of UTC."""
    ahead = datetime.fromtimestamp(second, rules).utcoffset()
    assert ahead is not None
    return ahead // _SECOND


def _seconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _SECOND


def _end_of_gap(rules: ZoneInfo, wall: datetime, low: int, high: int) -> int:
    """Bisects low < moment <= high for the first second that reads ``wall`` or later."""
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, rules).replace(tzinfo=None) >= wall:
            high = middle
        else:
            low = middle
    return high
