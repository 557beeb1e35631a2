"""What a user's commands change in the inbox: marks, and what an erasure deletes.

A mark of all items is in force with its command and written into them slice by slice
(docs/decisions/0010-long-work-in-slices.md). An item that changes or leaves before its turn reports the marks that are
pending on it first, so each is reported once, by the command that caused it.
"""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from agents.shared.lifecycle import emit, report
from agents.shared.placement import check_command
from agents.shared.slices import Walk
from agents.shared.subscriptions import position_of
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
from tables.inbox import Inbox, Item, marked, number_of
from tables.knowledge import Knowledge
from tables.schedule import SCHEDULE, Due, Schedule, due_key
from tables.slices import of_user
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
    """What marks that are pending would report is forgotten, too."""
    count = state.inbox.count(user_id)
    if count.sweep_at is not None:
        state.schedule.delete(due_key(count.sweep_at, "sweep", user_id.encode()))
    if count.marking is not None and count.marking.due_at is not None:
        state.schedule.delete(due_key(count.marking.due_at, "slice", user_id.encode()))
    state.inbox.erase(user_id)


def _mark(user_id: str, command: InboxMark, state: InboxState, out: Out, now: int) -> None:
    inbox = state.inbox
    if command.all:
        inbox.mark_all(user_id, command.as_, command.id, now)
        go_on_marking(user_id, state, out, now)
        return
    asked = (command.notification_id or "").lower()
    for number, item in inbox.all(user_id):
        if item.notification_id == asked:
            changed = marked(_report_pending(user_id, number, item, inbox, out), command.as_)
            inbox.change(user_id, number, item, _report_mark(changed, command.as_, command.id, out, now))


def go_on_marking(user_id: str, state: InboxState, out: Out, now: int) -> None:
    """One slice of writing pending marks into the items. Each mark of all brings one with it, so that no more marks can
    be pending than two rounds have slices."""
    inbox = state.inbox
    marking = inbox.count(user_id).marking
    if marking is None:
        return
    walk = Walk(inbox.items, marking.start, of_user(user_id)[1])
    for key, item in walk:
        walk.spend(item.size, 0)
        number = number_of(key)
        changed = inbox.as_marked(user_id, number, item)
        changed = _report_pending(user_id, number, changed, inbox, out)
        if changed != item:
            inbox.items.put(key, changed)  # (that they are still pending changes it no more)
    subject = user_id.encode()
    if marking.due_at is not None:
        state.schedule.delete(due_key(marking.due_at, "slice", subject))
    if inbox.passed(user_id, None if walk.is_over else walk.at, now):
        state.schedule.at(now, Due("slice", user_id, subject))


def report_left(user_id: str, left: Sequence[tuple[int, Item]], inbox: Inbox, out: Out) -> None:
    """Of items that were removed: what pending marks have to say of them."""
    for number, item in left:
        _report_pending(user_id, number, item, inbox, out)


def _report_pending(user_id: str, number: int, item: Item, inbox: Inbox, out: Out) -> Item:
    """Returns the item as one of which it was reported."""
    for pending in inbox.pending(user_id, number, item):
        item = _report_mark(item, pending.mark, pending.cause, out, pending.at_ms)
    return item


def _report_mark(item: Item, mark: Mark, cause: str, out: Out, at_ms: int) -> Item:
    new = [status for status in _TELLS.get(mark, ()) if status not in item.message]
    if not new:
        return item
    send = read_send(item.send)
    assert isinstance(send, Send)
    for status in new:
        emit(out, send, status, at_ms, cause, provider="inbox")
        if status in ("seen", "read"):
            report(out, send, status, at_ms, provider="inbox")
    return replace(item, message=(*item.message, *new))
