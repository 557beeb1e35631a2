"""Instants: RFC 3339 on the wire, Unix milliseconds inside. One reader for all of them, wherever they come from."""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Annotated

from msgspec import Meta

from schemas.decode import Malformed

#: Characters of an instant: the fraction of its second may be of any length.
MAX_INSTANT_CHARS = 64

#: An RFC 3339 date-time as it was written. ``check_instant`` says whether it is one.
Instant = Annotated[str, Meta(max_length=MAX_INSTANT_CHARS, extra_json_schema={"format": "date-time"})]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH_DAY = _EPOCH.toordinal()
_DAY_MS = 24 * 3_600_000

#: The bounds of what counts as an instant, both included: Unix milliseconds.
FIRST_MS = 0
LAST_MS = (date(2200, 1, 1).toordinal() - _EPOCH_DAY) * _DAY_MS

_FIRST_DATETIME_MS = (date.min.toordinal() - _EPOCH_DAY) * _DAY_MS
_LAST_DATETIME_MS = (date.max.toordinal() + 1 - _EPOCH_DAY) * _DAY_MS - 1

_DATE_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:\.(\d+))?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)


def to_ms(instant: datetime) -> int:
    """Unix milliseconds, rounded down."""
    return (instant - _EPOCH) // _MILLISECOND


def from_ms(ms: int) -> datetime:
    """The UTC instant of Unix milliseconds; the first or last that Python has, where they lie beyond."""
    return _EPOCH + min(max(ms, _FIRST_DATETIME_MS), _LAST_DATETIME_MS) * _MILLISECOND


@lru_cache(maxsize=64)
def rfc3339(ms: int) -> str:
    """``2026-11-21T09:30:00.123Z``. (All that a batch decides is decided at one time.)"""
    return from_ms(ms).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def parse_ms(text: str) -> int:
    """Unix milliseconds of an RFC 3339 date-time, rounded down, of any year. A leap second counts as the second after
    it. Raises ValueError for anything else."""
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise ValueError("is not an RFC 3339 date-time, such as 2026-11-29T10:00:00Z")
    year, month, day, hour, minute, second, fraction, sign, off_hours, off_minutes = match.groups()
    seconds = int(hour) * 3600 + int(minute) * 60 + int(second)
    if sign is not None:
        offset = int(off_hours) * 3600 + int(off_minutes) * 60
        seconds += -offset if sign == "+" else offset
    milliseconds = 0 if second == "60" or fraction is None else int(fraction[:3].ljust(3, "0"))
    return (_day(int(year), int(month), int(day)) - _EPOCH_DAY) * _DAY_MS + seconds * 1000 + milliseconds


def _day(year: int, month: int, day: int) -> int:
    """The day's number in the proleptic calendar. Python has no year 0, which RFC 3339 has: it is as the year 400."""
    cycles = 0 if year else 1
    return date(year + 400 * cycles, month, day).toordinal() - 146_097 * cycles


def instant_ms(text: str, field: str) -> int:
    """As ``parse_ms``, within the bounds; raises Invalid with the field."""
    try:
        ms = parse_ms(text)
    except ValueError as error:
        raise Malformed("is not an RFC 3339 date-time, such as 2026-11-29T10:00:00Z", field) from error
    if not FIRST_MS <= ms <= LAST_MS:
        raise Malformed("is before 1970 or after 2199", field)
    return ms


def stored_ms(text: str) -> int:
    """Of what stands in a row: an earlier version took more than RFC 3339 (a blank for the T, for instance)."""
    try:
        return parse_ms(text)
    except ValueError:
        return to_ms(datetime.fromisoformat(text))


#: How far ahead of our clock a record's timestamp may be.
MAX_CLOCK_AHEAD_MS = 3_600_000


def counted_ms(timestamp_ms: int, now_ms: int) -> int:
    """When a record counts as written: its timestamp, or now where it has none or one from the future."""
    return timestamp_ms if 0 <= timestamp_ms <= now_ms + MAX_CLOCK_AHEAD_MS else now_ms
