"""inbox: what a user finds in the app, newest first, with how much of it is new to them, and what changed lately.

A mark of all items is in force at once: the counts say so, and items are read as it leaves them (``as_marked``). It is
written into them slice by slice (docs/decisions/0010-long-work-in-slices.md).
"""

from msgspec import Struct
from msgspec.structs import replace

from app.ports import Rows
from schemas.commands import Mark
from schemas.inbox_changes import InboxChange
from schemas.requests import Button
from schemas.words import Status
from tables.table import Table, TableSpec

#: How many items a user keeps at most; the oldest make room. Trimmed in steps, for a look at all of them costs
#: something.
MOST_ITEMS = 1_000
_TRIM_STEP = 100

#: How long an item is kept, where the policy doesn't say.
KEPT_MS = 90 * 24 * 3600 * 1000

#: How many changes of a user can be read again, and for how long.
MOST_CHANGES = 1_024
CHANGES_MS = 25 * 3600 * 1000
#: By so much a new life of a user's inbox begins above all versions of the one before: nobody changes it as often as
#: this in a millisecond, for as long as it lasts.
_VERSIONS_PER_MS = 1_000


class Item(Struct, frozen=True, array_like=True, gc=False):
    """One notification in the inbox."""

    notification_id: str
    #: The send without its content: what lifecycle events of it say.
    send: bytes
    title: str
    body: str
    url: str | None
    image: str | None
    #: The request's data as JSON.
    data: bytes
    #: When it happened, and when it came here, Unix ms.
    created_at: int
    arrived_at: int
    collapse_key: str | None = None
    seen: bool = False
    read: bool = False
    archived: bool = False
    #: What was told of it as having come back: each once.
    message: tuple[Status, ...] = ()
    #: The number of the latest mark of all items that was pending when it was marked by itself: that one came later.
    marked: int = 0
    icon: str | None = None
    actions: tuple[Button, ...] = ()
    #: When it leaves by its sender's wish, Unix ms; None: as all others do.
    expires_at: int | None = None
    #: When it leaves as all others do, Unix ms; None: a revision before didn't say.
    kept_until: int | None = None
    #: None: a revision before didn't say; ``send`` does.
    category: str | None = None
    #: Until when the user has put it off, Unix ms; None: it isn't.
    snoozed_until: int | None = None

    @property
    def leaves_at(self) -> int:
        """Unix ms."""
        kept = self.arrived_at + KEPT_MS if self.kept_until is None else self.kept_until
        return kept if self.expires_at is None else min(kept, self.expires_at)

    @property
    def timers(self) -> tuple[int, ...]:
        """When something happens to it alone, Unix ms."""
        leaves = () if self.expires_at is None else (self.leaves_at,)
        wakes = self.snoozed_until
        return leaves if wakes is None or wakes >= self.leaves_at else (*leaves, wakes)

    @property
    def size(self) -> int:
        """In bytes, about."""
        return len(self.send) + len(self.data) + len(self.title.encode()) + len(self.body.encode())

    @property
    def snoozed(self) -> bool:
        return self.snoozed_until is not None

    @property
    def unread(self) -> bool:
        return not self.read and not self.archived and not self.snoozed

    @property
    def unseen(self) -> bool:
        return not self.seen and not self.archived and not self.snoozed


class PendingMark(Struct, frozen=True, array_like=True, gc=False):
    """A mark of all items that isn't written into all of them yet. It is for those with a lower number."""

    number: int
    mark: Mark
    #: The command's id, and when it was obeyed, Unix ms.
    cause: str
    at_ms: int


class Marking(Struct, frozen=True, array_like=True, gc=False):
    """Pending marks are written into the items in rounds, from the newest item to the oldest. A mark that comes in the
    middle of a round is written into the items that follow, and into the others by the next round."""

    #: Oldest first.
    marks: tuple[PendingMark, ...]
    #: The latest mark that was there when the round began.
    through: int
    #: The key at which the next slice begins.
    start: bytes
    #: When the next slice falls due, Unix ms; None: it isn't scheduled.
    due_at: int | None = None


class Count(Struct, frozen=True, array_like=True, gc=False):
    """Of one user's inbox, pending marks included."""

    #: Numbers the items and the marks of all items, in the order in which they came.
    latest: int = 0
    total: int = 0
    unread: int = 0
    unseen: int = 0
    #: When the oldest item's time is over, Unix ms; None: there is none.
    sweep_at: int | None = None
    #: How many are archived; None: a revision before didn't count them.
    archived: int | None = None
    #: None: no mark is pending.
    marking: Marking | None = None
    snoozed: int = 0
    #: The latest change's; 0: there was none.
    version: int = 0


class Change(Struct, frozen=True, array_like=True, gc=False):
    """One change, as long as it can be read again. ``until``: Unix ms."""

    until: int
    change: InboxChange


INBOX: TableSpec[Item] = TableSpec("inbox", Item)
COUNTS: TableSpec[Count] = TableSpec("inbox_counts", Count)
CHANGES: TableSpec[Change] = TableSpec("inbox_changes", Change, until="until")

_NONE = Count(archived=0)


def marked(item: Item, mark: Mark) -> Item:
    """Whoever read it has seen it; whoever takes that back hasn't read it."""
    match mark:
        case "seen":
            return replace(item, seen=True)
        case "read":
            return replace(item, seen=True, read=True)
        case "unread":
            return replace(item, read=False)
        case "archived":
            return replace(item, seen=True, archived=True, snoozed_until=None)


def snoozed(item: Item, until: int) -> Item:
    """Put off: what was archived will come back, too."""
    return replace(item, archived=False, snoozed_until=until)


def woken(item: Item) -> Item:
    """As it comes back: as new."""
    return replace(item, seen=False, read=False, snoozed_until=None)


def _prefix(user_id: str) -> bytes:
    return user_id.encode() + b"\0"


def item_key(user_id: str, number: int) -> bytes:
    """Newer items lie before older ones."""
    return _prefix(user_id) + (2**63 - number).to_bytes(8, "big")


def _change_key(user_id: str, version: int) -> bytes:
    return _prefix(user_id) + version.to_bytes(8, "big")


def number_of(key: bytes) -> int:
    return 2**63 - int.from_bytes(key[-8:], "big")


def _with(count: Count, item: Item, by: int) -> Count:
    """``by``: 1 with the item, -1 without it."""
    return replace(
        count,
        total=count.total + by,
        unread=count.unread + by * item.unread,
        unseen=count.unseen + by * item.unseen,
        archived=None if count.archived is None else count.archived + by * item.archived,
        snoozed=count.snoozed + by * item.snoozed,
    )


class Inbox:
    """The items of all users of a partition, and their counts."""

    def __init__(self, rows: Rows) -> None:
        self.items: Table[Item] = Table(INBOX, rows)
        self.counts: Table[Count] = Table(COUNTS, rows)
        self.changes: Table[Change] = Table(CHANGES, rows)

    def count(self, user_id: str) -> Count:
        return self.counts.get(user_id.encode()) or _NONE

    def newest(self, user_id: str, limit: int, before: int | None = None) -> list[tuple[int, Item]]:
        """Items with their numbers, newest first, as they are marked; ``before``: only those with a lower number."""
        start = _prefix(user_id) if before is None else item_key(user_id, before - 1)
        found = self.items.scan(start, _prefix(user_id)[:-1] + b"\1", limit)
        numbered = [(number_of(key), item) for key, item in found]
        return [(number, self.as_marked(user_id, number, item)) for number, item in numbered]

    def all(self, user_id: str) -> list[tuple[int, Item]]:
        return self.newest(user_id, MOST_ITEMS + _TRIM_STEP)

    def get(self, user_id: str, number: int) -> Item | None:
        """As it is marked."""
        item = self.items.get(item_key(user_id, number))
        return None if item is None else self.as_marked(user_id, number, item)

    def add(self, user_id: str, item: Item) -> int:
        """Puts it on top, and returns its number."""
        before = self.count(user_id)
        number = before.latest + 1
        sweep_at = before.sweep_at
        if item.expires_at is None:
            sweep_at = item.leaves_at if sweep_at is None else min(sweep_at, item.leaves_at)
        self.items.put(item_key(user_id, number), item)
        self.counts.put(user_id.encode(), _with(replace(before, latest=number, sweep_at=sweep_at), item, 1))
        return number

    def over(self, user_id: str, most: int | None = None) -> list[tuple[int, Item]]:
        """The oldest, which have to make room. ``most``: how many items the user may have."""
        most = MOST_ITEMS if most is None else min(most, MOST_ITEMS)
        step = _TRIM_STEP if most == MOST_ITEMS else 1
        if self.count(user_id).total < most + step:
            return []
        return self.all(user_id)[most:]

    def change(self, user_id: str, number: int, old: Item, new: Item) -> None:
        """Marks one by itself, later than all that is pending. ``old`` is as it is marked."""
        count = self.count(user_id)
        if count.marking is not None:
            new = replace(new, marked=count.marking.marks[-1].number)
        if new != old:
            self.items.put(item_key(user_id, number), new)
            self.counts.put(user_id.encode(), _with(_with(count, old, -1), new, 1))

    def remove(self, user_id: str, items: list[tuple[int, Item]]) -> None:
        """``items`` are as they are marked."""
        count = self.count(user_id)
        for number, item in items:
            self.items.delete(item_key(user_id, number))
            count = _with(count, item, -1)
        self.counts.put(user_id.encode(), count)

    def overdue(self, user_id: str, now: int, most: int) -> list[tuple[int, Item]]:
        """At most this many items whose time is over, the oldest first."""
        return [(number, item) for number, item in self.all(user_id) if item.leaves_at <= now][-most:]

    def swept(self, user_id: str, now: int) -> None:
        """What is overdue was removed; where there is more of it the next sweep is due at once."""
        count = self.count(user_id)
        left = [item.leaves_at for _, item in self.all(user_id) if item.expires_at is None or item.leaves_at <= now]
        sweep_at = max(now, min(left)) if left else None
        if sweep_at != count.sweep_at:
            self.counts.put(user_id.encode(), replace(count, sweep_at=sweep_at))

    def erase(self, user_id: str) -> None:
        for number, _ in self.all(user_id):
            self.items.delete(item_key(user_id, number))
        for key, _ in self.changes.scan(_prefix(user_id), _prefix(user_id)[:-1] + b"\1"):
            self.changes.delete(key)
        self.counts.delete(user_id.encode())

    # --- changes ---

    def next_version(self, user_id: str, now: int) -> int:
        """One higher than that of the change before. That of a user who wasn't known before is higher than all that
        anybody of that name has ever had."""
        version = self.count(user_id).version
        return version + 1 if version else now * _VERSIONS_PER_MS

    def keep_change(self, change: InboxChange, now: int) -> None:
        user_id = change.user_id
        self.changes.put(_change_key(user_id, change.version), Change(now + CHANGES_MS, change))
        self.changes.delete(_change_key(user_id, max(0, change.version - MOST_CHANGES)))
        self.counts.put(user_id.encode(), replace(self.count(user_id), version=change.version))

    def changes_after(self, user_id: str, version: int, limit: int) -> list[InboxChange] | None:
        """The next changes, oldest first; None: one of them isn't known any more, or there was no such version."""
        if version == self.count(user_id).version:
            return []
        start, end = _change_key(user_id, version + 1), _prefix(user_id)[:-1] + b"\1"
        found = [row.change for _, row in self.changes.scan(start, end, limit)]
        for change in found:  # (those whose time is over are swept in any order)
            if change.previous != version:
                return None
            version = change.version
        return found or None

    # --- marks of all items ---

    def pending(self, user_id: str, number: int, item: Item) -> list[PendingMark]:
        """The marks of all items that may not be written into this one yet, oldest first."""
        marking = self.count(user_id).marking
        if marking is None:
            return []
        return [mark for mark in marking.marks if mark.number > max(number, item.marked)]

    def as_marked(self, user_id: str, number: int, item: Item) -> Item:
        """A stored item as its pending marks leave it."""
        for pending in self.pending(user_id, number, item):
            item = marked(item, pending.mark)
        return item

    def mark_all(self, user_id: str, mark: Mark, cause: str, now: int) -> None:
        """Marks every item that is there. It is counted at once, and pending."""
        count = self.count(user_id)
        if not count.total:
            return
        number = count.latest + 1
        pending = PendingMark(number, mark, cause, now)
        if count.marking is None:
            marking = Marking((pending,), number, item_key(user_id, number))
        else:
            marking = replace(count.marking, marks=(*count.marking.marks, pending))
        counted = replace(self._counted(user_id, count, mark), latest=number, marking=marking)
        self.counts.put(user_id.encode(), counted)

    def passed(self, user_id: str, at: bytes | None, due_at: int) -> bool:
        """A slice was passed through; the next begins ``at`` (None: the round is over) and falls due at ``due_at``.
        Returns whether there is one."""
        count = self.count(user_id)
        marking = count.marking
        if marking is None:
            return False
        if at is not None:
            marking = replace(marking, start=at, due_at=due_at)
        elif left := tuple(mark for mark in marking.marks if mark.number > marking.through):
            marking = Marking(left, left[-1].number, item_key(user_id, left[-1].number), due_at)
        else:
            marking = None
        self.counts.put(user_id.encode(), replace(count, marking=marking))
        return marking is not None

    def _counted(self, user_id: str, count: Count, mark: Mark) -> Count:
        """As it is when all items are marked."""
        match mark:
            case "seen":
                return replace(count, unseen=0)
            case "read":
                return replace(count, unseen=0, unread=0)
            case "archived":
                return replace(count, unseen=0, unread=0, archived=count.total, snoozed=0)
            case "unread":
                archived = count.archived
                if archived is None:
                    archived = sum(item.archived for _, item in self.all(user_id))
                return replace(count, unread=count.total - archived - count.snoozed, archived=archived)
