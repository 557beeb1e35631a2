"""When a timer that failed is tried again, and when what it belongs to is given up."""

from dataclasses import dataclass

#: The first wait; each is twice the one before.
_FIRST_MS = 60_000
_LONGEST_MS = 6 * 3_600_000
#: So often a row is tried, which takes about an hour: the cause may be a bug, and can be mended until then.
TRIES = 7


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after so many milliseconds. ``give_up``: first end what the row belongs to; only if that can't be
    done is it tried again."""

    wait_ms: int
    give_up: bool


def after_failure(tries: int, *, lasting: bool, poison: bool = False) -> Retry:
    """``tries``: how often it had failed before. ``lasting``: no further try can have another outcome. ``poison``: a
    further try ends the process."""
    wait_ms = _LONGEST_MS if poison else min(_FIRST_MS << min(tries, 20), _LONGEST_MS)
    return Retry(wait_ms, give_up=lasting or poison or tries + 1 >= TRIES)
