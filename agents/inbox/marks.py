"""What a user's commands change in the inbox: marks, and what an erasure deletes.

A mark of all items is in force with its command and written into them slice by slice
(docs/decisions/0010-long-work-in-slices.md). An item that changes or leaves before its turn reports the marks that are
pending on it first, so each is reported once, by the command that caused it.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from agents.inbox.changes import change, erase, keep_timers, mark_all
from agents.inbox.state import InboxState
from agents.shared.lifecycle import emit, report
from agents.shared.placement import check_command
from agents.shared.slices import Walk
from agents.shared.subscriptions import position_of
from app.domain.bounds import Bounds
from app.domain.out import Out
from app.domain.policy import Policy
from app.ports import LogRecord
from schemas.commands import InboxMark, InboxSnooze, Mark, read_command
from schemas.instants import counted_ms, instant_ms
from schemas.receipts import IMPLIES
from schemas.sends import Send, read_send
from schemas.words import Status
from tables.inbox import Inbox, Item, marked, number_of, snoozed, woken
from tables.schedule import Due, due_key
from tables.slices import of_user

#: What a mark tells besides itself; putting away and taking back tell nothing.
_TELLS: dict[Mark, tuple[Status, ...]] = {
    "seen": (*reversed(IMPLIES["seen"]), "seen"),
    "read": (*reversed(IMPLIES["read"]), "read"),
}


def take_command(
    record: LogRecord, partitions: int, state: InboxState, out: Out, now: int, bounds: Bounds, policy: Policy
) -> None:
    """``partitions``: how many the topics have. Raises Invalid with the field."""
    assert record.value is not None
    command = read_command(record.value)
    check_command(record, command, partitions)
    recorded = counted_ms(record.timestamp, now)
    applied = state.knowledge.apply(command, position_of(record), now, bounds, recorded, policy)
    if not applied.applied or command.user_id is None:
        return
    if applied.erased:
        _erase(command.user_id, state, out, now)
    elif isinstance(command, InboxMark):
        _mark(command.user_id, command, state, out, now)
    elif isinstance(command, InboxSnooze):
        _snooze(command.user_id, command, state, out, now)


def _erase(user_id: str, state: InboxState, out: Out, now: int) -> None:
    """What marks that are pending would report is forgotten, too."""
    count = state.inbox.count(user_id)
    if count.sweep_at is not None:
        state.schedule.delete(due_key(count.sweep_at, "sweep", user_id.encode()))
    if count.marking is not None and count.marking.due_at is not None:
        state.schedule.delete(due_key(count.marking.due_at, "slice", user_id.encode()))
    erase(user_id, state, out, now)


def _mark(user_id: str, command: InboxMark, state: InboxState, out: Out, now: int) -> None:
    if command.all:
        mark_all(user_id, command.as_, command.id, state, out, now)
        go_on_marking(user_id, state, out, now)
        return
    for number, item in _named(user_id, command.notification_id or "", state.inbox):
        changed = marked(_report_pending(user_id, number, item, state.inbox, out), command.as_)
        changed = _report_mark(changed, command.as_, command.id, out, now)
        change(user_id, number, item, changed, state, out, now)


def _snooze(user_id: str, command: InboxSnooze, state: InboxState, out: Out, now: int) -> None:
    until = None if command.until is None else instant_ms(command.until, "until")
    for number, item in _named(user_id, command.notification_id, state.inbox):
        changed = _report_pending(user_id, number, item, state.inbox, out)
        if until is not None and until > now:
            change(user_id, number, item, snoozed(changed, until), state, out, now)
        elif item.snoozed:
            change(user_id, number, item, woken(changed), state, out, now)


def wake_item(user_id: str, number: int, state: InboxState, out: Out, now: int) -> None:
    """Brings back an item whose time to be put off is over."""
    item = state.inbox.get(user_id, number)
    if item is not None and item.snoozed_until is not None and item.snoozed_until <= now:
        changed = _report_pending(user_id, number, item, state.inbox, out)
        change(user_id, number, item, woken(changed), state, out, now)


def _named(user_id: str, notification_id: str, inbox: Inbox) -> list[tuple[int, Item]]:
    asked = notification_id.lower()
    return [(number, item) for number, item in inbox.all(user_id) if item.notification_id == asked]


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
            keep_timers(user_id, number, item, changed, state)
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
