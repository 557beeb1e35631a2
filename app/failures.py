"""Failures that input may cause by the thousand are logged once in a while, with a count."""

from contextlib import suppress
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class RateLimitedLog:
    """Logs the first of a kind, then one in a while with how many there were since: there may be thousands a second."""

    EVERY_MS = 10_000

    def __init__(self) -> None:
        self._logged_at: dict[tuple[str, type], int] = {}
        self._since: dict[tuple[str, type], int] = {}

    def log(self, event: str, error: Exception, now: int, **fields: Any) -> None:
        """``now``: Unix ms."""
        kind = (event, type(error))
        count = self._since[kind] = self._since.get(kind, 0) + 1
        if not 0 <= now - self._logged_at.get(kind, -self.EVERY_MS) < self.EVERY_MS:
            self._logged_at[kind], self._since[kind] = now, 0
            with suppress(Exception):  # (no text of an error may end more than the record does)
                log.error(event, count=count, exc_info=error, **fields)
