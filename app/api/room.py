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

    records: int
    octets: int

    def part(self, percent: int) -> "Size":
        return Size(self.records * percent // 100, self.octets * percent // 100)


class Taken:
    """Records and bytes that are in flight: plain numbers, as every call changes them several times."""

    __slots__ = ("octets", "records")

    def __init__(self) -> None:
        self.records = self.octets = 0

    def add(self, records: int, octets: int) -> None:
        self.records += records
        self.octets += octets


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
        self._taken = Taken()
        self._by_caller: dict[str, Taken] = {}

    @property
    def callers(self) -> int:
        """How many have something in flight."""
        return len(self._by_caller)

    def hold(self, caller: str) -> "Hold":
        """One call's part of it, given back at the end of the context."""
        return Hold(self, caller)

    def take(self, caller: str, records: int, octets: int, *, reserved: bool) -> None:
        """Raises Problem 429 where there is no room. ``reserved``: it may use what is kept for critical calls."""
        if not records and not octets:
            return  # it wouldn't be given back
        mine, share, taken = self._by_caller.get(caller), self._share, self._taken
        if mine is None:
            mine = Taken()
        if mine.records + records > share.records or mine.octets + octets > share.octets:
            raise _full("too much of yours is in flight: wait for answers before you send more", "share")
        limit = self._limit if reserved else self._ordinary
        if taken.records + records > limit.records or taken.octets + octets > limit.octets:
            raise _full("too much is in flight", "room")
        mine.add(records, octets)
        taken.add(records, octets)
        self._by_caller[caller] = mine

    def give_back(self, caller: str, records: int, octets: int) -> None:
        mine = self._by_caller[caller]
        mine.add(-records, -octets)
        if not mine.records and not mine.octets:
            del self._by_caller[caller]
        self._taken.add(-records, -octets)


class Hold:
    """What one call has taken so far."""

    __slots__ = ("_caller", "_octets", "_records", "_room")

    def __init__(self, room: Room, caller: str) -> None:
        self._room = room
        self._caller = caller
        self._records = self._octets = 0

    def take_body(self, octets: int) -> None:
        """Bytes of a body that were read. Raises Problem 429."""
        self._take(0, octets, reserved=self._octets + octets <= _SMALL_BODY)

    def take_records(self, records: int, octets: int, *, critical: bool) -> None:
        """Records on their way to the log. Raises Problem 429."""
        self._take(records, octets, reserved=critical)

    def _take(self, records: int, octets: int, *, reserved: bool) -> None:
        self._room.take(self._caller, records, octets, reserved=reserved)
        self._records += records
        self._octets += octets

    def __enter__(self) -> "Hold":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._records or self._octets:
            self._room.give_back(self._caller, self._records, self._octets)
            self._records = self._octets = 0


def _full(detail: str, limit: Limit) -> Problem:
    return Problem(429, detail, headers={"Retry-After": "1"}, limit=limit)
