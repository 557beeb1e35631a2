"""What a stream of an inbox sends: the events of each change, and which changes a stream that has got so far lacks.

Changes of a user are numbered without a gap, so a stream is right if it takes the next one each time, whatever comes
twice, late or not at all: what it lacks is read from the inbox's owner (docs/decisions/0028-live-inbox.md).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from schemas.inbox_changes import InboxChange
from schemas.instants import rfc3339

#: Of one user, as long as some stream hasn't got so far.
MOST_RECENT = 32
MOST_RECENT_BYTES = 256 * 1024

_encode = msgspec.json.Encoder().encode


class Event(NamedTuple):
    """``data`` is JSON."""

    id: str
    name: str
    data: bytes

    def as_server_sent(self) -> bytes:
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (self.id.encode(), self.name.encode(), self.data)

    def as_message(self) -> str:
        """Of a WebSocket."""
        return _encode({"id": self.id, "event": self.name, "data": msgspec.Raw(self.data)}).decode()


def count_event(version: int, unread: int, unseen: int) -> Event:
    return Event(str(version), "count", _encode({"unread": unread, "unseen": unseen}))


def reset_event(version: int) -> Event:
    return Event(str(version), "reset", b"{}")


def events_of(change: InboxChange, item: Mapping[str, Any] | None) -> list[Event]:
    """All have the change's id. Whoever breaks off after the first has lost nothing: a stream begins with the counts.

    ``item``: the one that was added; None: it is gone by now, and a later change says so.
    """
    version = str(change.version)
    if change.kind == "added":
        events = [] if item is None else [Event(version, "notification", _encode(item))]
    else:
        events = [Event(version, "update", _encode(update)) for update in _updates(change)]
    return [*events, count_event(change.version, change.unread, change.unseen)]


def _updates(change: InboxChange) -> list[dict[str, Any]]:
    marks = {"seen": change.seen, "read": change.read, "archived": change.archived}
    match change.kind:
        case "all":
            return [{"all": True, **{name: mark for name, mark in marks.items() if mark is not None}}]
        case "removed":
            return [{"id": change.notification_id, "removed": True}]
        case "erased":
            return [{"id": notification_id, "removed": True} for notification_id in change.ids]
        case _:
            until = change.snoozed_until
            snooze = {"snoozed_until": None if until is None else rfc3339(until)} if change.snoozes else {}
            return [{"id": change.notification_id, **marks, **snooze}]


class ChangeEvents(NamedTuple):
    """One change, as streams send it. ``reached``: what the next one names as the one before. ``size``: of its data."""

    version: int
    previous: int
    reached: int
    events: Sequence[Event]
    size: int


def change_events(change: InboxChange, item: Mapping[str, Any] | None) -> ChangeEvents:
    """See ``events_of``. Whoever was erased begins anew."""
    reached = 0 if change.kind == "erased" else change.version
    events = events_of(change, item)
    return ChangeEvents(change.version, change.previous, reached, events, sum([len(event.data) for event in events]))


class Recent:
    """The latest changes of one user, one after the other."""

    __slots__ = ("_changes", "_reached", "_size", "latest")

    def __init__(self) -> None:
        #: The latest version that is known of.
        self.latest = 0
        self._reached = 0
        self._changes: deque[ChangeEvents] = deque()
        self._size = 0

    def take(self, changed: ChangeEvents) -> None:
        """Passes over what it has."""
        if changed.version <= self.latest:
            return
        if changed.previous != self._reached:
            self._clear()
        self.latest, self._reached = changed.version, changed.reached
        self._changes.append(changed)
        self._size += changed.size
        while self._changes and (len(self._changes) > MOST_RECENT or self._size > MOST_RECENT_BYTES):
            self._size -= self._changes.popleft().size

    def skip(self, version: int) -> None:
        """There is such a change, and what it holds isn't known here."""
        if version > self.latest:
            self._clear()
            self.latest = self._reached = version

    def forget(self, reached: int) -> None:
        """Every stream has got so far."""
        while self._changes and self._changes[0].version <= reached:
            self._size -= self._changes.popleft().size

    def after(self, version: int) -> list[ChangeEvents] | None:
        """What a stream lacks that has got to ``version``; None: the inbox's owner has to be asked."""
        if version >= self.latest or version == self._reached:
            return []
        lacking = [changed for changed in self._changes if changed.version > version]
        return lacking if lacking and lacking[0].previous == version else None

    def _clear(self) -> None:
        self._changes.clear()
        self._size = 0
