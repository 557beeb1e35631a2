"""Times on the command line: RFC 3339, a day, or how long ago."""

import re

from app.cli.output import Refused
from app.domain.policy import duration_ms
from schemas.decode import Invalid
from schemas.instants import instant_ms

_AGO = re.compile(r"[1-9][0-9]*(ms|s|m|h|d)")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def moment(option: str, text: str, now_ms: int) -> int:
    """Unix ms of what was written. Raises Refused."""
    if text == "now":
        return now_ms
    if _AGO.fullmatch(text):
        return now_ms - duration_ms(text)
    try:
        return instant_ms(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text, option)
    except Invalid as invalid:
        if not isinstance(invalid.__cause__, ValueError):
            raise Refused(str(invalid)) from None
        raise Refused(f"{option}: {text} is not RFC 3339, a day, or a time ago such as 24h") from None


def duration(option: str, text: str) -> int:
    """Milliseconds of a duration such as ``15m``. Raises Refused."""
    if not _AGO.fullmatch(text):
        raise Refused(f"{option}: {text} is not a duration such as 15m")
    return duration_ms(text)
