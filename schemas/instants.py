"""Instants: RFC 3339 on the wire, Unix milliseconds inside."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import Meta

#: An RFC 3339 date-time with its offset.
Instant = Annotated[datetime, Meta(tz=True)]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(instant: datetime) -> int:
    """Unix milliseconds, rounded down."""
    return (instant - _EPOCH) // _MILLISECOND


def from_ms(ms: int) -> datetime:
    """The UTC instant of Unix milliseconds."""
    return _EPOCH + ms * _MILLISECOND


def rfc3339(ms: int) -> str:
    """``2026-11-21T09:30:00.123Z``."""
    return from_ms(ms).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def parse_ms(text: str) -> int:
    """Unix milliseconds of an RFC 3339 text; raises ValueError."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("an RFC 3339 instant needs its offset")
    return to_ms(instant)
