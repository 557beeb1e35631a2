"""slices: what is left to do of work that is too much for one batch, as it lies in ``schedule`` until it is done.

What it goes through is a range of keys; ``start`` moves on.
"""

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tables.schedule import Due, Schedule, due_key


class Cancel(Struct, frozen=True, array_like=True, tag=True):
    """Of ``pending``: what a cancel's command ends. ``source`` None: whoever asked for it."""

    cause: str
    start: bytes
    end: bytes
    source: str | None = None


class Forget(Struct, frozen=True, array_like=True, tag=True):
    """Of all that was there of a user when they were erased. ``table``: the place in the order of the tables."""

    cause: str
    start: bytes
    end: bytes
    user_id: str
    table: int = 0


class FindHolds(Struct, frozen=True, array_like=True, tag=True):
    """Of ``pending``: a user's holds of quiet hours, to be judged again in the order of acceptance."""

    cause: str
    start: bytes
    end: bytes
    user_id: str


class JudgeHolds(Struct, frozen=True, array_like=True, tag=True):
    """Of ``schedule``: the holds that were found, in that order."""

    cause: str
    start: bytes
    end: bytes
    user_id: str


class RetimeDigests(Struct, frozen=True, array_like=True, tag=True):
    """Of ``digests``: when each of a user's closes, by what holds now."""

    cause: str
    start: bytes
    end: bytes
    user_id: str


class DropDigests(Struct, frozen=True, array_like=True, tag=True):
    """Of ``digests``: those of a user who was in the app, where the rule says so; none opened since (``at_ms``)."""

    cause: str
    start: bytes
    end: bytes
    user_id: str
    at_ms: int


Work = Cancel | Forget | FindHolds | JudgeHolds | RetimeDigests | DropDigests

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Work).decode


def work_of(due: Due) -> Work:
    work: Work = _decode(due.subject)
    return work


def go_on_later(schedule: Schedule, now: int, work: Work, start: bytes) -> None:
    """The rest of the work is for the next batch, behind whatever else is due."""
    rest = replace(work, start=start)
    schedule.at(now, Due("slice", getattr(work, "user_id", ""), _encode(rest)))


#: Never falls due: a row there waits for the work that put it there.
_PARKED_MS = 2**63 - 1


def park(schedule: Schedule, user_id: str, cause: str, subject: bytes) -> None:
    """Puts something aside; what one command of one user put aside lies together, in the order of the subjects."""
    name = f"{user_id}\0{cause}\0".encode()
    schedule.at(_PARKED_MS, Due("parked", user_id, name + subject, str(len(name))))


def parked_subject(due: Due) -> bytes:
    return due.subject[int(due.detail) :]


def parked_range(user_id: str, cause: str) -> tuple[bytes, bytes]:
    start = due_key(_PARKED_MS, "parked", f"{user_id}\0{cause}\0".encode())[:-1]
    return start, start[:-1] + b"\1"


def of_user(user_id: str) -> tuple[bytes, bytes]:
    """The keys that begin with the user: where they start and end. (User ids hold no control characters.)"""
    name = user_id.encode()
    return name + b"\0", name + b"\1"
