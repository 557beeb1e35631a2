"""Caps: sliding windows over the ids of what was sent (contract, "Caps").

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
        if self.category is not None and self.category != category:
            return False
        return channel == self.channel if self.channel is not None else channel != "in_app"


@dataclass(frozen=True, slots=True)
class Over:
    """The cap that is over, who holds its places (notification ids, oldest first) and when the next one is free."""

    cap: Cap
    used_by: tuple[str, ...]
    free_at_ms: int


def judge_caps(
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
    raise NotImplementedError


def take(window: Window, own_id: bytes, taken_ms: int, cap: Cap) -> Window:
    """The window with a place for ``own_id``, without what has slid out. An id that is there changes nothing."""
    raise NotImplementedError


def give_back(window: Window, own_id: bytes) -> Window:
    """The window without ``own_id``'s place."""
    raise NotImplementedError
