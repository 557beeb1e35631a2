"""Changes of an inbox: each is made, kept for a day and put on ``tocsin_inbox_changes`` in one checkpoint, so that the
user's streams can follow and resume (docs/decisions/0028-live-inbox.md)."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from agents.inbox.state import InboxState
from app.domain.out import Out
from schemas.commands import Mark
from schemas.inbox_changes import InboxChange, Kind, encode_inbox_record
from schemas.topics import INBOX_CHANGES
from tables.inbox import Count, Item, item_key
from tables.schedule import Due, due_key

#: What a mark of all items says of each of them.
_OF_ALL: dict[Mark, dict[str, bool]] = {
    "seen": {"seen": True},
    "read": {"seen": True, "read": True},
    "unread": {"read": False},
    "archived": {"seen": True, "archived": True},
}


def add(user_id: str, item: Item, state: InboxState, out: Out, now: int) -> None:
    before = state.inbox.count(user_id)
    number = state.inbox.add(user_id, item)
    _set_timers(user_id, number, None, item, state)
    _record(user_id, "added", before, state, out, now, notification_id=item.notification_id, number=number)


def change(user_id: str, number: int, old: Item, new: Item, state: InboxState, out: Out, now: int) -> None:
    """``old`` is as it is marked, ``new`` as it is marked by itself now."""
    before, stored = state.inbox.count(user_id), state.inbox.items.get(item_key(user_id, number))
    state.inbox.change(user_id, number, old, new)
    _set_timers(user_id, number, stored, new, state)
    if _shown(old) != _shown(new):
        _record(
            user_id,
            "marked",
            before,
            state,
            out,
            now,
            notification_id=new.notification_id,
            seen=new.seen,
            read=new.read,
            archived=new.archived,
            snoozed_until=new.snoozed_until,
            snoozes=old.snoozed_until != new.snoozed_until,
        )


def mark_all(user_id: str, mark: Mark, cause: str, state: InboxState, out: Out, now: int) -> None:
    before = state.inbox.count(user_id)
    state.inbox.mark_all(user_id, mark, cause, now)
    if before.total:
        _record(user_id, "all", before, state, out, now, **_OF_ALL[mark])


def remove(user_id: str, items: Sequence[tuple[int, Item]], state: InboxState, out: Out, now: int) -> None:
    """``items`` are as they are marked. Each leaves by a change of its own, so that a stream may break off anywhere."""
    for number, item in items:
        before = state.inbox.count(user_id)
        _set_timers(user_id, number, state.inbox.items.get(item_key(user_id, number)), None, state)
        state.inbox.remove(user_id, [(number, item)])
        _record(user_id, "removed", before, state, out, now, notification_id=item.notification_id)


def erase(user_id: str, state: InboxState, out: Out, now: int) -> None:
    """Nothing of it is kept, so that nobody can resume behind it."""
    inbox = state.inbox
    before, items = inbox.count(user_id), inbox.all(user_id)
    for number, _ in items:
        _set_timers(user_id, number, inbox.items.get(item_key(user_id, number)), None, state)
    if before.version or items:
        gone = Count(version=inbox.next_version(user_id, now))
        _say(_change_of(user_id, "erased", before, gone, ids=[item.notification_id for _, item in items]), out)
    inbox.erase(user_id)


def keep_timers(user_id: str, number: int, stored: Item, changed: Item, state: InboxState) -> None:
    """A mark of all items was written into one."""
    if stored.timers != changed.timers:
        _set_timers(user_id, number, stored, changed, state)


def _set_timers(user_id: str, number: int, old: Item | None, new: Item | None, state: InboxState) -> None:
    """``old`` is as it was stored."""
    subject = item_key(user_id, number)
    for at in old.timers if old is not None else ():
        state.schedule.delete(due_key(at, "item", subject))
    for at in new.timers if new is not None else ():
        state.schedule.at(at, Due("item", user_id, subject))


def _shown(item: Item) -> tuple[bool, bool, bool, int | None]:
    return item.seen, item.read, item.archived, item.snoozed_until


def _record(user_id: str, kind: Kind, before: Count, state: InboxState, out: Out, now: int, **what: Any) -> None:
    inbox = state.inbox
    after = replace(inbox.count(user_id), version=inbox.next_version(user_id, now))
    recorded = _change_of(user_id, kind, before, after, **what)
    inbox.keep_change(recorded, now)
    _say(recorded, out)


def _change_of(user_id: str, kind: Kind, before: Count, after: Count, **what: Any) -> InboxChange:
    return InboxChange(
        user_id=user_id,
        version=after.version,
        previous=before.version,
        kind=kind,
        unread=after.unread,
        unseen=after.unseen,
        unread_before=before.unread,
        unseen_before=before.unseen,
        **what,
    )


def _say(change: InboxChange, out: Out) -> None:
    out.send(INBOX_CHANGES, change.user_id.encode(), encode_inbox_record(change))
