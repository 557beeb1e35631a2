"""schedule: everything that waits, in the order in which it falls due. The only timer there is."""

from typing import Literal

from msgspec import Struct

from tables.table import Table, TableSpec

#: What to do at the due time; each role's machine knows its own kinds.
Kind = Literal["judge", "digest", "step", "place", "retry", "deadline", "settle", "expire", "sweep"]


class Due(Struct, frozen=True, array_like=True, gc=False):
    """``subject`` says what waits (the key of a row elsewhere), ``detail`` which part of it."""

    kind: Kind
    user_id: str
    subject: bytes
    detail: str = ""


SCHEDULE: TableSpec[Due] = TableSpec("schedule", Due)


def due_key(due_ms: int, kind: Kind, subject: bytes, detail: str = "") -> bytes:
    """Byte order is time order; the rest makes it one row for each thing that waits."""
    return due_ms.to_bytes(8, "big") + kind.encode() + b"\0" + subject + b"\0" + detail.encode()


def due_ms_of(key: bytes) -> int:
    return int.from_bytes(key[:8], "big")


class Schedule(Table[Due]):
    def at(self, due_ms: int, due: Due) -> bytes:
        """Schedules, and returns the key with which it can be taken back. Doing it again changes nothing."""
        key = due_key(due_ms, due.kind, due.subject, due.detail)
        self.put(key, due)
        return key

    def due(self, now_ms: int, limit: int) -> list[tuple[bytes, Due]]:
        """What has fallen due, oldest first."""
        return self.scan(b"", (now_ms + 1).to_bytes(8, "big"), limit)
