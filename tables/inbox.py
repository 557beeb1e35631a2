"""inbox: what a user finds in the app, newest first, with how much of it is new to them."""

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
    said: tuple[Status, ...] = ()

    @property
    def unread(self) -> bool:
        return not self.read and not self.archived

    @property
    def unseen(self) -> bool:
        return not self.seen and not self.archived


class Count(Struct, frozen=True, array_like=True, gc=False):
    """Of one user's inbox."""

    #: Numbers the items in the order in which they came.
    latest: int = 0
    total: int = 0
    unread: int = 0
    unseen: int = 0
    #: When the oldest item's time is over, Unix ms; None: there is none.
    sweep_at: int | None = None


INBOX: TableSpec[Item] = TableSpec("inbox", Item)
COUNTS: TableSpec[Count] = TableSpec("inbox_counts", Count)

_NONE = Count()


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


class Inbox:
    """The items of all users of a partition, and their counts."""

    def __init__(self, rows: Rows) -> None:
        self.items: Table[Item] = Table(INBOX, rows)
        self.counts: Table[Count] = Table(COUNTS, rows)

    def count(self, user_id: str) -> Count:
        return self.counts.get(user_id.encode()) or _NONE

    def newest(self, user_id: str, limit: int, before: int | None = None) -> list[tuple[int, Item]]:
        """Items with their numbers, newest first; ``before``: only those with a lower number."""
        start = _prefix(user_id) if before is None else _key(user_id, before - 1)
        found = self.items.scan(start, _prefix(user_id)[:-1] + b"\1", limit)
        return [(2**63 - int.from_bytes(key[-8:], "big"), item) for key, item in found]

    def all(self, user_id: str) -> list[tuple[int, Item]]:
        return self.newest(user_id, MOST_ITEMS + _TRIM_STEP)

    def add(self, user_id: str, item: Item) -> Count:
        """Puts it on top; the oldest make room. Returns the counts as they are then."""
        before = self.count(user_id)
        count = replace(
            before,
            latest=before.latest + 1,
            total=before.total + 1,
            unread=before.unread + item.unread,
            unseen=before.unseen + item.unseen,
            sweep_at=before.sweep_at or item.arrived_at + KEPT_MS,
        )
        self.items.put(_key(user_id, count.latest), item)
        self.counts.put(user_id.encode(), count)
        if count.total >= MOST_ITEMS + _TRIM_STEP:
            self.remove(user_id, self.all(user_id)[MOST_ITEMS:])
        return self.count(user_id)

    def change(self, user_id: str, number: int, old: Item, new: Item) -> None:
        count = self.count(user_id)
        self.items.put(_key(user_id, number), new)
        unread, unseen = count.unread + new.unread - old.unread, count.unseen + new.unseen - old.unseen
        self.counts.put(user_id.encode(), replace(count, unread=unread, unseen=unseen))

    def remove(self, user_id: str, items: list[tuple[int, Item]]) -> None:
        count = self.count(user_id)
        for number, item in items:
            self.items.delete(_key(user_id, number))
            count = replace(
                count,
                total=count.total - 1,
                unread=count.unread - item.unread,
                unseen=count.unseen - item.unseen,
            )
        self.counts.put(user_id.encode(), count)

    def sweep(self, user_id: str, now: int) -> Count:
        """Removes what was kept long enough."""
        items = self.all(user_id)
        over = [(number, item) for number, item in items if item.arrived_at + KEPT_MS <= now]
        if over:
            self.remove(user_id, over)
        left = [item.arrived_at + KEPT_MS for _, item in items if item.arrived_at + KEPT_MS > now]
        count = replace(self.count(user_id), sweep_at=min(left, default=None))
        if items:
            self.counts.put(user_id.encode(), count)
        return count

    def erase(self, user_id: str) -> None:
        for number, _ in self.all(user_id):
            self.items.delete(_key(user_id, number))
        self.counts.delete(user_id.encode())
