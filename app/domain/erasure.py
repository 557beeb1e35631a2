"""Erasure: into which steps the time is divided in which an erased user's data must be gone (``data.erase_within``)."""

from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b

#: The table of who was erased, in every role that keeps tables.
ERASURES_TABLE = "erasures"

_TEN_MINUTES = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class ErasureSteps:
    """The steps from an erasure to the last byte, so that all of them together take less than ``within``.

    An owner begins a round of reclaiming at most ``gather`` after an erasure. The segments that hold the user's rows
    are rolled within twice ``roll``, are cleaned when they are ``settle`` old, and their files go ``linger`` later:
    ``gather + 2 * roll + settle + linger`` is two thirds of the time at most; the rest is for the broker's cleaner.
    """

    within: timedelta

    @property
    def gather(self) -> timedelta:
        """Erasures that come within this time share a round."""
        return self.within / 12

    @property
    def roll(self) -> timedelta:
        """How old a compacted topic's active segment gets."""
        return self.within / 6

    @property
    def settle(self) -> timedelta:
        """How long a row is left alone by compaction, so that a partition's owner sees rows that came late from a
        former owner, and repeats its own, before the broker decides which of them was the last."""
        return min(_TEN_MINUTES, self.within / 6)

    @property
    def linger(self) -> timedelta:
        """How long the broker keeps the files of a segment that compaction has replaced."""
        return min(timedelta(minutes=1), self.within / 12)

    @property
    def look(self) -> timedelta:
        """How often an owner looks for rows that came late: well within ``settle``."""
        return min(timedelta(seconds=10), self.settle / 2.5)

    @property
    def abandon(self) -> timedelta:
        """How old a store gets that nobody keeps up to date, before it is deleted."""
        return min(timedelta(hours=12), self.within / 2)


#: What ``data.erase_within`` is unless it is set.
DEFAULT_WITHIN = timedelta(hours=24)


def user_hash(user_id: str) -> bytes:
    """What remains of a user to remember their erasure by."""
    return blake2b(user_id.encode(errors="surrogateescape"), digest_size=16, person=b"tocsin-erasure").digest()
