"""inbox: what a user finds in the app, newest first, with how much of it is new to them.

A mark of all items is in force at once: the counts say so, and items are read as it leaves them (``as_marked``). It is
written into them slice by slice (docs/decisions/0010-long-work-in-slices.md).
"""

from msgspec import Struct
from msgspec.structs import replace

from app.ports import Rows
from schemas.commands import Mark
from schemas.words import Status
from tables.table import Table, TableSpec

#: How many items a user keeps; the oldest make room. Trimmed in steps, for a look at all of them costs something.
MOST_ITEMS = 1_000
_TRIM_STEP = 100

#: How long an item is kept.
KEPT_MS = 90 * 24 * 3600 * 1000


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

    @property
    def size(self) -> int:
        """In bytes, about."""
        return len(self.send) + len(self.data) + len(self.title.encode()) + len(self.body.encode())

    @property
    def unread(self) -> bool:
        return not self.read and not self.archived

    @property
    def unseen(self) -> bool:
        return not self.seen and not self.archived


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


INBOX: TableSpec[Item] = TableSpec("inbox", Item)
COUNTS: TableSpec[Count] = TableSpec("inbox_counts", Count)

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
            return replace(item, seen=True, archived=True)


def _prefix(user_id: str) -> bytes:
    return user_id.encode() + b"\0"


def _key(user_id: str, number: int) -> bytes:
    return _prefix(user_id) + (2**63 - number).to_bytes(8, "big")


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
    )


class Inbox:
    """The items of all users of a partition, and their counts."""

    def __init__(self, rows: Rows) -> None:
        self.items: Table[Item] = Table(INBOX, rows)
        self.counts: Table[Count] = Table(COUNTS, rows)

    def count(self, user_id: str) -> Count:
        return self.counts.get(user_id.encode()) or _NONE

    def newest(self, user_id: str, limit: int, before: int | None = None) -> list[tuple[int, Item]]:
        """Items with their numbers, newest first, as they are marked; ``before``: only those with a lower number."""
        start = _prefix(user_id) if before is None else _key(user_id, before - 1)
        found = self.items.scan(start, _prefix(user_id)[:-1] + b"\1", limit)
        numbered = [(number_of(key), item) for key, item in found]
        return [(number, self.as_marked(user_id, number, item)) for number, item in numbered]

    def all(self, user_id: str) -> list[tuple[int, Item]]:
        return self.newest(user_id, MOST_ITEMS + _TRIM_STEP)

    def add(self, user_id: str, item: Item) -> list[tuple[int, Item]]:
        """Puts it on top. Returns the oldest, which made room."""
        before = self.count(user_id)
        number = before.latest + 1
        count = replace(before, latest=number, sweep_at=before.sweep_at or item.arrived_at + KEPT_MS)
        self.items.put(_key(user_id, number), item)
        self.counts.put(user_id.encode(), _with(count, item, 1))
        if before.total + 1 < MOST_ITEMS + _TRIM_STEP:
            return []
        over = self.all(user_id)[MOST_ITEMS:]
        self.remove(user_id, over)
        return over

    def change(self, user_id: str, number: int, old: Item, new: Item) -> None:
        """Marks one by itself, later than all that is pending. ``old`` is as it is marked."""
        count = self.count(user_id)
        if count.marking is not None:
            new = replace(new, marked=count.marking.marks[-1].number)
        if new != old:
            self.items.put(_key(user_id, number), new)
            self.counts.put(user_id.encode(), _with(_with(count, old, -1), new, 1))

    def remove(self, user_id: str, items: list[tuple[int, Item]]) -> None:
        """``items`` are as they are marked."""
        count = self.count(user_id)
        for number, item in items:
            self.items.delete(_key(user_id, number))
            count = _with(count, item, -1)
        self.counts.put(user_id.encode(), count)

    def sweep(self, user_id: str, now: int, most: int) -> list[tuple[int, Item]]:
        """Removes ``most`` items that were kept long enough, the oldest first, and returns them. Where there are more
        the next sweep is due at once."""
        items = self.all(user_id)
        over = [(number, item) for number, item in items if item.arrived_at + KEPT_MS <= now][-most:]
        if over:
            self.remove(user_id, over)
        removed = {number for number, _ in over}
        left = [item.arrived_at + KEPT_MS for number, item in items if number not in removed]
        if items:
            next_at = max(now, min(left)) if left else None
            self.counts.put(user_id.encode(), replace(self.count(user_id), sweep_at=next_at))
        return over

    def erase(self, user_id: str) -> None:
        for number, _ in self.all(user_id):
            self.items.delete(_key(user_id, number))
        self.counts.delete(user_id.encode())

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
            marking = Marking((pending,), number, _key(user_id, number))
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
            marking = Marking(left, left[-1].number, _key(user_id, left[-1].number), due_at)
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
                return replace(count, unseen=0, unread=0, archived=count.total)
            case "unread":
                archived = count.archived
                if archived is None:
                    archived = sum(item.archived for _, item in self.all(user_id))
                return replace(count, unread=count.total - archived, archived=archived)
