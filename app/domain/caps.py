"""Caps: sliding windows over the ids of what was sent (docs/policy.md#caps).

A window is one bytes value of entries of 24 bytes, oldest first: when the place was taken (8 bytes, Unix ms,
big-endian) and by whom (16 bytes, the notification's id). So it is trimmed, counted and appended to without decoding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.words import Channel

Window = bytes

_TIME = 8
_ENTRY = 24


@dataclass(frozen=True, slots=True)
class Cap:
    name: str
    limit: int
    window_ms: int
    category: str | None = None
    channel: Channel | None = None
    over: Literal["suppress", "defer", "digest"] = "suppress"
    #: The digest that takes what is over, where ``over`` is ``digest``.
    digest: str | None = None

    def counts(self, category: str, channel: Channel) -> bool:
        """Whether a send of this category on this channel takes a place here, and is stopped when there is none."""
        return (self.category is None or self.category == category) and self.concerns(channel)

    def concerns(self, channel: Channel) -> bool:
        """Whether it counts anything on this channel."""
        return channel == self.channel if self.channel is not None else channel != "in_app"


@dataclass(frozen=True, slots=True)
class Over:
    """The cap that is over, who holds its places (notification ids, oldest first) and when the next one is free."""

    cap: Cap
    used_by: tuple[str, ...]
    free_at_ms: int


def evaluate_caps(
    caps: Sequence[Cap],
    windows: Mapping[str, Window],
    waiting: Mapping[str, Sequence[bytes]],
    own_id: bytes,
    now_ms: int,
) -> Over | None:
    """The first cap without a place for ``own_id`` (16 bytes), None if every one has room.

    ``caps``: those that count this send, in the policy's order. ``windows`` and ``waiting`` by the cap's name: places
    taken, and the ids that wait for one, in order. Whoever has a place already needs no other.
    """
    for cap in caps:
        window = windows.get(cap.name, b"")
        queue = waiting.get(cap.name, ()) if waiting and cap.over == "defer" else ()
        if len(window) < cap.limit * _ENTRY and not queue:
            continue  # has room even if nothing has slid out
        start = _first_live(window, now_ms - cap.window_ms)
        if _position(window, own_id, start) >= 0:
            continue
        ahead = _place_in(queue, own_id)
        if (len(window) - start) // _ENTRY + ahead >= cap.limit:
            live = window[start:]
            return Over(cap, _ids(live), _free_at(live, cap, ahead, now_ms))
    return None


def take(window: Window, own_id: bytes, taken_ms: int, cap: Cap) -> Window:
    """The window with a place for ``own_id``, without what has slid out. An id that is there changes nothing."""
    live = window[_first_live(window, taken_ms - cap.window_ms) :]
    if _position(live, own_id, 0) >= 0:
        return live
    taken = taken_ms.to_bytes(_TIME, "big")
    if live[-_ENTRY : _TIME - _ENTRY] <= taken:  # as nearly always: no other place was taken later
        return live + taken + own_id
    at = _first_live(live, taken_ms)
    return live[:at] + taken + own_id + live[at:]


def give_back(window: Window, own_id: bytes) -> Window:
    """The window without ``own_id``'s place."""
    at = _position(window, own_id, 0)
    return window if at < 0 else window[:at] + window[at + _ENTRY :]


def _first_live(window: Window, until_ms: int) -> int:
    """Where the entries begin that were taken after ``until_ms``."""
    if not window or until_ms < 0:
        return 0
    until = until_ms.to_bytes(_TIME, "big")
    if window[:_TIME] > until:
        return 0
    low, high = 0, len(window) // _ENTRY
    if window[-_ENTRY : _TIME - _ENTRY] <= until:
        return len(window)
    while high - low > 1:  # the entry at low has slid out, the one at high hasn't
        middle = (low + high) // 2
        if window[middle * _ENTRY : middle * _ENTRY + _TIME] <= until:
            low = middle
        else:
            high = middle
    return high * _ENTRY


def _position(window: Window, own_id: bytes, start: int) -> int:
    """Where the entry of an id begins, -1 if it has none."""
    at = window.find(own_id, start)
    while at >= 0 and at % _ENTRY != _TIME:  # the id's bytes across two entries
        at = window.find(own_id, at + 1)
    return at - _TIME if at >= 0 else -1


def _place_in(queue: Sequence[bytes], own_id: bytes) -> int:
    """How many wait ahead."""
    return queue.index(own_id) if own_id in queue else len(queue)


def _ids(window: Window) -> tuple[str, ...]:
    entries = (window[at + _TIME : at + _ENTRY].hex() for at in range(0, len(window), _ENTRY))
    return tuple(f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}" for h in entries)


def _free_at(live: Window, cap: Cap, ahead: int, now_ms: int) -> int:
    """When a place is free for the one behind ``ahead`` others, who each take one as soon as they can.

    The first ``limit`` of them take what is vacant, then what slides out in turn; the next that many come a window
    later each.
    """
    rounds, turn = divmod(ahead, cap.limit)
    place = turn - cap.limit + len(live) // _ENTRY
    if place < 0:
        return now_ms + rounds * cap.window_ms
    taken_ms = int.from_bytes(live[place * _ENTRY : place * _ENTRY + _TIME], "big")
    return taken_ms + (rounds + 1) * cap.window_ms
