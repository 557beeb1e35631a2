"""How much may be in flight at once, between a caller and the log's acknowledgement: beyond it callers are asked to
come back. Memory stays bounded, no caller takes it all, and a part is kept for what is critical."""

from dataclasses import dataclass
from types import TracebackType

from app.api.problems import Problem
from app.api.refusals import Limit

#: Bodies up to this size may use the room that is kept for critical ones: it isn't known yet what they hold.
_SMALL_BODY = 64 << 10


@dataclass(frozen=True, slots=True)
class Size:
    """Records and bytes."""

    records: int = 0
    octets: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(self.records + other.records, self.octets + other.octets)

    def __sub__(self, other: "Size") -> "Size":
        return Size(self.records - other.records, self.octets - other.octets)

    def part(self, percent: int) -> "Size":
        return Size(self.records * percent // 100, self.octets * percent // 100)

    def fits(self, limit: "Size") -> bool:
        return self.records <= limit.records and self.octets <= limit.octets


#: The largest call (a bulk body of 16 MiB, 2,000 records at once) is well below any caller's share.
DEFAULT_LIMIT = Size(20_000, 256 << 20)
_ORDINARY_PERCENT = 80
_SHARE_PERCENT = 40


class Room:
    """What is in flight, in all and by caller. A fifth is kept for critical calls; one caller has two fifths."""

    def __init__(self, limit: Size = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._ordinary = limit.part(_ORDINARY_PERCENT)
        self._share = limit.part(_SHARE_PERCENT)
        self._taken = Size()
        self._by_caller: dict[str, Size] = {}

    def hold(self, caller: str) -> "Hold":
        """One call's part of it, given back at the end of the context."""
        return Hold(self, caller)

    def take(self, caller: str, more: Size, *, reserved: bool) -> None:
        """Raises Problem 429 where there is no room. ``reserved``: it may use what is kept for critical calls."""
        mine = self._by_caller.get(caller, Size()) + more
        if not mine.fits(self._share):
            raise _full("too much of yours is in flight: wait for answers before you send more", "share")
        if not (self._taken + more).fits(self._limit if reserved else self._ordinary):
            raise _full("too much is in flight", "room")
        self._by_caller[caller] = mine
        self._taken += more

    def give_back(self, caller: str, size: Size) -> None:
        left = self._by_caller[caller] - size
        if left == Size():
            del self._by_caller[caller]
        else:
            self._by_caller[caller] = left
        self._taken -= size


class Hold:
    """What one call has taken so far."""

    def __init__(self, room: Room, caller: str) -> None:
        self._room = room
        self._caller = caller
        self._size = Size()

    def take_body(self, octets: int) -> None:
        """Bytes of a body that were read. Raises Problem 429."""
        self._take(Size(0, octets), reserved=self._size.octets + octets <= _SMALL_BODY)

    def take_records(self, records: int, octets: int, *, critical: bool) -> None:
        """Records on their way to the log. Raises Problem 429."""
        self._take(Size(records, octets), reserved=critical)

    def _take(self, more: Size, *, reserved: bool) -> None:
        self._room.take(self._caller, more, reserved=reserved)
        self._size += more

    def __enter__(self) -> "Hold":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._size != Size():
            self._room.give_back(self._caller, self._size)
            self._size = Size()


def _full(detail: str, limit: Limit) -> Problem:
    return Problem(429, detail, headers={"Retry-After": "1"}, limit=limit)
