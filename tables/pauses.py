"""pauses: the sends that wait for their next call, in order.

Each user's in the order of acceptance: first those that are held or wait for a retry, then each line of those that wait
for an earlier call of the same user (on push: device). The head of a line that waits for a slot of its provider has a
second row, among all that wait for that provider; so has what is held until its provider, which an operator paused, is
resumed, and what its provider's open circuit holds. Those in doubt have two rows of their own: by user, as they may be
each other's evidence, and by provider, the oldest first, as they are counted.
"""

from functools import lru_cache

from msgspec import Struct

from app.ports import Rows
from tables.table import Table, TableSpec


class Pause(Struct, frozen=True, array_like=True, gc=False):
    """``begun``: a call was made."""

    begun: bool
    notification_id: str
    collapse_key: str | None = None


PAUSES: TableSpec[Pause] = TableSpec("pauses", Pause)

#: Begins the rows by provider: user ids hold no control characters.
_BY_PROVIDER = b"\1"
#: Begins the rows of those in doubt, which wait for no call.
_DOUBTS = b"\2"
#: Begins their rows by provider and age.
_DOUBTS_BY_AGE = b"\3"
#: Begins the rows of those that are held until their provider is resumed.
_BY_PAUSED_PROVIDER = b"\4"
#: Begins the rows of those that are held by the open circuit of their provider.
_BY_OPEN_CIRCUIT = b"\5"
#: Follows a user's prefix in the rows of a line; in the others a time of acceptance does, whose first byte is 0.
_IN_LINE = b"\1"


#: Of a user's sends in doubt no more are looked at.
MOST_DOUBTS = 100


def _prefix(user_id: str) -> bytes:
    """A user's rows lie together."""
    return user_id.encode() + b"\0"


def pause_key(user_id: str, accepted_at: int, offset: int, send_key: bytes) -> bytes:
    """``offset``: of the send's record, for those that were accepted in one batch."""
    return _prefix(user_id) + _place(accepted_at, offset, send_key)


@lru_cache(maxsize=256)
def line_of(user_id: str, device_id: str | None, *, urgent: bool) -> bytes:
    """Names a line: calls of one line are made one after the other. What is urgent has a line of its own. (It is asked
    for several times in a row.)"""
    return _prefix(user_id) + _IN_LINE + bytes((not urgent,)) + (device_id or "").encode() + b"\0"


def line_key(line: bytes, bulk: bool, accepted_at: int, offset: int, send_key: bytes) -> bytes:
    """``bulk`` goes behind the rest."""
    return line + bytes((bulk,)) + _place(accepted_at, offset, send_key)


def slot_key(provider: str, urgent: bool, bulk: bool, accepted_at: int, offset: int, send_key: bytes) -> bytes:
    """Among those that wait for a slot of the provider: the urgent first, bulk last."""
    return _slots(provider) + bytes((not urgent, bulk)) + _place(accepted_at, offset, send_key)


def resumption_key(provider: str, urgent: bool, bulk: bool, accepted_at: int, offset: int, send_key: bytes) -> bytes:
    """Among those that are held until the provider is resumed, in the order of ``slot_key``."""
    return _resumptions(provider) + bytes((not urgent, bulk)) + _place(accepted_at, offset, send_key)


def recovery_key(provider: str, urgent: bool, bulk: bool, accepted_at: int, offset: int, send_key: bytes) -> bytes:
    """Among those that the provider's open circuit holds: the urgent first, of which the newest is of most use; bulk
    last."""
    place = _newest_first(accepted_at) + send_key if urgent else _place(accepted_at, offset, send_key)
    return _recoveries(provider) + bytes((not urgent, bulk)) + place


def is_held(key: bytes) -> bool:
    """Whether it is the row of one that a pause or an open circuit holds."""
    return key[:1] in (_BY_PAUSED_PROVIDER, _BY_OPEN_CIRCUIT)


def _newest_first(accepted_at: int) -> bytes:
    return (2**64 - 1 - accepted_at).to_bytes(8, "big")


def _recoveries(provider: str) -> bytes:
    return _BY_OPEN_CIRCUIT + provider.encode() + b"\0"


def _resumptions(provider: str) -> bytes:
    return _BY_PAUSED_PROVIDER + provider.encode() + b"\0"


def _slots(provider: str) -> bytes:
    return _BY_PROVIDER + provider.encode() + b"\0"


def _place(accepted_at: int, offset: int, send_key: bytes) -> bytes:
    return accepted_at.to_bytes(8, "big") + offset.to_bytes(8, "big") + send_key


def doubt_key(user_id: str, send_key: bytes) -> bytes:
    return _DOUBTS + _prefix(user_id) + send_key


def doubt_age_key(provider: str, doubted_at: int, send_key: bytes) -> bytes:
    """``doubted_at``: Unix ms."""
    return _doubts_of(provider) + doubted_at.to_bytes(8, "big") + send_key


def _doubts_of(provider: str) -> bytes:
    return _DOUBTS_BY_AGE + provider.encode() + b"\0"


def send_key_of(key: bytes) -> bytes:
    """The key in ``attempts`` of what waits there."""
    return key[-16:]


#: How much of a row's key may follow the prefix by which its first row is asked for: lines, slots, and the urgent that
#: an open circuit holds (``line_key``, ``slot_key``, ``recovery_key``).
_BEHIND_PREFIX = (33, 34, 26)
#: Prefixes whose first row is remembered.
_MOST_FIRSTS = 10_000


class Pauses(Table[Pause]):
    """Every send and every answer asks who is first in its line and for its provider, and mostly nobody waits: what was
    found is remembered until a row with that prefix changes, and spares most scans."""

    __slots__ = ("_firsts",)

    def __init__(self, spec: TableSpec[Pause], rows: Rows) -> None:
        super().__init__(spec, rows)
        #: By prefix, the key of the first row that begins with it.
        self._firsts: dict[bytes, bytes | None] = {}

    def stored(self) -> None:
        firsts = self._firsts
        self._firsts = {}
        super().stored()
        self._firsts = firsts

    def rollback(self) -> None:
        super().rollback()
        self._firsts.clear()

    def clear(self) -> None:
        super().clear()
        self._firsts.clear()

    def _change(self, key: bytes, row: Pause | None) -> None:
        super()._change(key, row)
        for behind in _BEHIND_PREFIX:
            self._firsts.pop(key[:-behind], None)

    def of(self, user_id: str) -> list[tuple[bytes, Pause]]:
        """Keys of ``attempts`` and what waits there, in order of acceptance."""
        start = _prefix(user_id)
        return [(send_key_of(key), pause) for key, pause in self.scan(start, start[:-1] + b"\1")]

    def some_of(self, user_id: str, after: bytes, limit: int) -> list[bytes]:
        """The same a part at a time: the next keys of this table behind ``after`` (empty: from the first)."""
        start = _prefix(user_id)
        begin = after + b"\0" if after else start
        return [key for key, _ in self.scan(begin, start[:-1] + b"\1", limit)]

    def in_doubt(self, user_id: str) -> list[bytes]:
        """Keys of ``attempts`` of the user's sends in doubt."""
        start = _DOUBTS + _prefix(user_id)
        return [send_key_of(key) for key, _ in self.scan(start, start[:-1] + b"\1", MOST_DOUBTS)]

    def oldest_doubt(self, provider: str) -> int | None:
        """Since when (Unix ms) the provider's oldest doubt has been open; None: there is none."""
        key = self._scanned_first(_doubts_of(provider))
        return None if key is None else int.from_bytes(key[-24:-16], "big")

    def first_in(self, line: bytes) -> bytes | None:
        """The key of the line's head."""
        return self._first_of(line)

    def first_for(self, provider: str) -> bytes | None:
        """The key of what is to have the provider's next slot: what waits for one, then what an open circuit held, then
        what a pause held."""
        return (
            self._first_of(_slots(provider))
            or self._first_of(_recoveries(provider))
            or self._first_of(_resumptions(provider))
        )

    def _first_of(self, prefix: bytes) -> bytes | None:
        try:
            return self._firsts[prefix]
        except KeyError:
            if len(self._firsts) >= _MOST_FIRSTS:
                self._firsts.clear()
            first = self._firsts[prefix] = self._scanned_first(prefix)
            return first

    def _scanned_first(self, prefix: bytes) -> bytes | None:
        found = self.scan(prefix, prefix[:-1] + b"\1", 1)
        return found[0][0] if found else None
