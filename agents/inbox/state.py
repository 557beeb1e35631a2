"""One partition's tables of the inbox."""

from collections.abc import Sequence
from typing import Any

from app.domain.keyed import NO_SECRET, HashKeys
from app.ports import Rows
from tables.attempts import ATTEMPTS, Attempts
from tables.inbox import Inbox
from tables.knowledge import Knowledge
from tables.schedule import SCHEDULE, Schedule
from tables.table import Table


class InboxState:
    """See the module."""

    def __init__(self, rows: Rows, keys: HashKeys = NO_SECRET) -> None:
        self.knowledge = Knowledge(rows, keys)
        self.attempts = Attempts(ATTEMPTS, rows)
        self.inbox = Inbox(rows)
        self.schedule = Schedule(SCHEDULE, rows)

    def tables(self) -> Sequence[Table[Any]]:
        inbox = self.inbox
        return (*self.knowledge.tables(), self.attempts, inbox.items, inbox.counts, inbox.changes, self.schedule)
