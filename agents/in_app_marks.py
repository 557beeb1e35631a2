"""What users say of their inbox: what they saw, read and put away; and what is forgotten with them."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from agents.intakes import position_of
from agents.placement import check_command
from agents.telling import report, tell
from app.domain.bounds import Bounds
from app.domain.keyed import NO_SECRET, HashKeys
from app.domain.out import Out
from app.ports import LogRecord, Rows
from schemas.commands import InboxMark, Mark, read_command
from schemas.instants import counted_ms
from schemas.receipts import IMPLIES
from schemas.sends import Send, read_send
from schemas.words import Status
from tables.attempts import ATTEMPTS, Attempts
from tables.inbox import Inbox, marked
from tables.knowledge import Knowledge
from tables.schedule import SCHEDULE, Schedule, due_key
from tables.table import Table

#: What a mark tells besides itself; putting away and taking back tell nothing.
_TELLS: dict[Mark, tuple[Status, ...]] = {
    "seen": (*reversed(IMPLIES["seen"]), "seen"),
    "read": (*reversed(IMPLIES["read"]), "read"),
}


class InboxState:
    """One partition's tables of the inbox."""

    def __init__(self, rows: Rows, keys: HashKeys = NO_SECRET) -> None:
        self.knowledge = Knowledge(rows, keys)
        self.attempts = Attempts(ATTEMPTS, rows)
        self.inbox = Inbox(rows)
        self.schedule = Schedule(SCHEDULE, rows)

    def tables(self) -> Sequence[Table[Any]]:
        return (*self.knowledge.tables(), self.attempts, self.inbox.items, self.inbox.counts, self.schedule)


def take_command(record: LogRecord, partitions: int, state: InboxState, out: Out, now: int, bounds: Bounds) -> None:
    """``partitions``: how many the topics have. Raises Invalid with the field."""
    assert record.value is not None
    command = read_command(record.value)
    check_command(record, command, partitions)
    change = state.knowledge.apply(command, position_of(record), now, bounds, counted_ms(record.timestamp, now))
    if not change.applied or command.user_id is None:
        return
    if change.erased:
        _erase(command.user_id, state)
    elif isinstance(command, InboxMark):
        _mark(command.user_id, command, state, out, now)


def _erase(user_id: str, state: InboxState) -> None:
    sweep_at = state.inbox.count(user_id).sweep_at
    if sweep_at is not None:
        state.schedule.delete(due_key(sweep_at, "sweep", user_id.encode()))
    state.inbox.erase(user_id)


def _mark(user_id: str, command: InboxMark, state: InboxState, out: Out, now: int) -> None:
    asked = (command.notification_id or "").lower()
    for number, item in state.inbox.all(user_id):
        if not command.all and item.notification_id != asked:
            continue
        told = _TELLS.get(command.as_, ())
        changed = replace(marked(item, command.as_), said=(*item.said, *(s for s in told if s not in item.said)))
        if changed != item:
            state.inbox.change(user_id, number, item, changed)
            send = read_send(item.send)
            assert isinstance(send, Send)
            for status in changed.said[len(item.said) :]:
                tell(out, send, status, now, command.id, provider="inbox")
                if status in ("seen", "read"):
                    report(out, send, status, now, provider="inbox")
