"""The router's tables of one partition."""

from collections.abc import Sequence
from typing import Any

from app.domain.keyed import NO_SECRET, HashKeys
from app.domain.verification import Verification
from app.ports import Rows
from schemas.instants import LAST_MS
from tables.collapses import COLLAPSES, Collapse
from tables.dedup import DEDUP, First
from tables.digests import DIGESTS, Gathering
from tables.knowledge import KNOWLEDGE_TABLES, Knowledge
from tables.notifications import NOTIFICATIONS, Notification
from tables.pending import PENDING, PendingTable
from tables.routed import ROUTED, Routed
from tables.schedule import SCHEDULE, Due, Schedule, due_key
from tables.table import Table
from tables.verifications import VERIFICATIONS
from tables.windows import WINDOWS, Windows

ROUTER_TABLES: tuple[str, ...] = (
    *KNOWLEDGE_TABLES,
    *(s.name for s in (NOTIFICATIONS, ROUTED, WINDOWS, DEDUP, COLLAPSES, PENDING, DIGESTS, VERIFICATIONS, SCHEDULE)),
)


def normalizes_next(start: bytes) -> Due:
    """The profiles from ``start`` on are to be looked at for tokens of earlier forms."""
    return Due("normalize", "", start)


#: With what it begins: whoever opens tables with profiles that weren't looked at writes this row.
NORMALIZES_FIRST = due_key(0, "normalize", b"")
#: A row that never falls due: every profile of the partition has been looked at.
NORMALIZED = due_key(LAST_MS, "normalize", b"")


class RouterState:
    def __init__(self, rows: Rows, partition: int, keys: HashKeys = NO_SECRET) -> None:
        self.partition = partition
        self.known = Knowledge(rows, keys)
        self.notifications: Table[Notification] = Table(NOTIFICATIONS, rows)
        self.routed: Table[Routed] = Table(ROUTED, rows)
        self.windows: Table[Windows] = Table(WINDOWS, rows)
        self.dedup: Table[First] = Table(DEDUP, rows)
        self.collapses: Table[Collapse] = Table(COLLAPSES, rows)
        self.digests: Table[Gathering] = Table(DIGESTS, rows)
        self.verifications: Table[Verification] = Table(VERIFICATIONS, rows)
        self.pending = PendingTable(rows)
        self.schedule = Schedule(SCHEDULE, rows)
        #: Whether devices are known to be swept for stale ones, so that not every record has to look.
        self.sweeps = False
        if self.schedule.get(NORMALIZED) is None and self.known.profiles_from(b"", 1):
            self.schedule.put(NORMALIZES_FIRST, normalizes_next(b""))

    def tables(self) -> Sequence[Table[Any]]:
        return (
            *self.known.tables(),
            self.notifications,
            self.routed,
            self.windows,
            self.dedup,
            self.collapses,
            self.digests,
            self.verifications,
            self.pending.table,
            self.schedule,
        )
