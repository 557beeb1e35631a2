"""schedule: everything that waits, in the order in which it falls due. The only timer there is."""

from typing import Literal

from msgspec import Struct

from app.ports import Rows
from tables.table import Table, TableSpec

#: What to do at the due time; each role's machine knows its own kinds.
Kind = Literal[
    "judge",
    "digest",
    "step",
    "receipt",
    "place",
    "retry",
    "deadline",
    "settle",
    "expire",
    "sweep",
    "normalize",
    "stale",
    "look",
    "dispatch",
    "drain",
    "slice",
    "item",
    "parked",
    "aside",
]


class Due(Struct, frozen=True, array_like=True, gc=False):
    """``subject`` says what waits (the key of a row elsewhere), ``detail`` which part of it; ``tries``: how often it
    fell due and failed."""

    kind: Kind
    user_id: str
    subject: bytes
    detail: str = ""
    tries: int = 0


SCHEDULE: TableSpec[Due] = TableSpec("schedule", Due)


def due_key(due_ms: int, kind: Kind, subject: bytes, detail: str = "") -> bytes:
    """Byte order is time order; the rest makes it one row for each thing that waits."""
    return due_ms.to_bytes(8, "big") + kind.encode() + b"\0" + subject + b"\0" + detail.encode()


def due_ms_of(key: bytes) -> int:
    return int.from_bytes(key[:8], "big")


class Schedule(Table[Due]):
    """Every cycle of a runner asks what is due, and mostly nothing is: ``not_before`` spares most scans."""

    __slots__ = ("not_before",)

    def __init__(self, spec: TableSpec[Due], rows: Rows) -> None:
        super().__init__(spec, rows)
        #: Nothing falls due before it, Unix ms; None: nothing waits.
        self.not_before: int | None = 0

    def at(self, due_ms: int, due: Due) -> bytes:
        """Schedules, and returns the key with which it can be taken back. Doing it again changes nothing."""
        key = due_key(due_ms, due.kind, due.subject, due.detail)
        self.put(key, due)
        return key

    def put(self, key: bytes, row: Due) -> None:
        super().put(key, row)
        due_ms = due_ms_of(key)
        if self.not_before is None or due_ms < self.not_before:
            self.not_before = due_ms

    def due(self, now_ms: int, limit: int) -> list[tuple[bytes, Due]]:
        """What has fallen due, oldest first."""
        if self.not_before is None or self.not_before > now_ms:
            return []
        start = self.not_before.to_bytes(8, "big")  # (what was deleted before it need not be passed over again)
        first = self.scan(start, None, 1)
        self.not_before = due_ms_of(first[0][0]) if first else None
        if self.not_before is None or self.not_before > now_ms:
            return []
        return first if limit == 1 else self.scan(start, (now_ms + 1).to_bytes(8, "big"), limit)

    def overdue_since(self, now_ms: int) -> int | None:
        """When the oldest row fell due that still lies there, Unix ms; None: nothing is due."""
        oldest = self.due(now_ms, 1)
        return due_ms_of(oldest[0][0]) if oldest else None

    def stored(self) -> None:
        not_before = self.not_before
        super().stored()
        self.not_before = not_before

    def rollback(self) -> None:
        super().rollback()
        self.not_before = 0

    def clear(self) -> None:
        super().clear()
        self.not_before = 0
