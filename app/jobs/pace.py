"""How fast a job goes; by default a tenth of what the slowest of its channel's providers takes."""

from collections.abc import Iterable

from app.domain.policy import Rate

#: ``200/s``, ``30/m``, ``6/h``, ``1/d``.
RATE_FORM = r"^[1-9][0-9]{0,5}/(s|m|h|d)$(?!\n)"
_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
#: Where no provider has a limit.
_UNLIMITED = (50, 1000)
_SHARE = 10
#: What wasn't used is lost: after a pause a job goes on at its pace, it doesn't catch up.
_BURST_MS = 200


def parse_rate(text: str) -> tuple[int, int]:
    """(how many, in how many milliseconds) of a text of ``RATE_FORM``."""
    count, unit = text.split("/")
    return int(count), _UNITS_MS[unit]


def show_rate(rate: int, per_ms: int) -> str:
    """As it is written; in the shortest of the units in which it is a whole number."""
    for unit, ms in _UNITS_MS.items():
        if rate * ms % per_ms == 0:
            return f"{rate * ms // per_ms}/{unit}"
    return f"{rate}/{per_ms}ms"


def default_rate(limits: Iterable[Rate]) -> tuple[int, int]:
    """A tenth of the lowest of the limits."""
    lowest = min(limits, key=lambda limit: limit.per_second, default=None)
    return _UNLIMITED if lowest is None else (lowest.count, lowest.per_ms * _SHARE)


class Pace:
    """Says how many may go now. Times are seconds of a clock that nobody sets."""

    def __init__(self, rate: int, per_ms: int, now: float) -> None:
        self._per_s = rate * 1000 / per_ms
        self._room = 0.0
        self._most = max(1.0, self._per_s * _BURST_MS / 1000)
        self._at = now

    def take(self, now: float, most: int) -> int:
        """How many may go, at most so many; they count as gone."""
        self._room = min(self._most, self._room + max(0.0, now - self._at) * self._per_s)
        self._at = now
        taken = min(most, int(self._room))
        self._room -= taken
        return taken

    @property
    def wait_s(self) -> float:
        """Until the next may go."""
        return max(0.0, (1 - self._room) / self._per_s)
