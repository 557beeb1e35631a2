"""pending: which notifications are open here, by user, notification and campaign, so that a command finds them."""

from collections.abc import Iterator

from msgspec import Struct

from app.ports import Rows
from tables.table import Table, TableSpec


class Pending(Struct, frozen=True, array_like=True, gc=False):
    user_id: str
    #: The key of its row in notifications.
    notification: bytes


PENDING: TableSpec[Pending] = TableSpec("pending", Pending)


class PendingTable:
    """One row for each thing by which an open notification is looked for."""

    def __init__(self, rows: Rows) -> None:
        self.table: Table[Pending] = Table(PENDING, rows)

    def add(self, user_id: str, notification: bytes, notification_id: str, campaign_id: str | None) -> None:
        row = Pending(user_id, notification)
        for key in _keys(user_id, notification, notification_id, campaign_id):
            if self.table.get(key) is None:
                self.table.put(key, row)

    def remove(self, user_id: str, notification: bytes, notification_id: str, campaign_id: str | None) -> None:
        for key in _keys(user_id, notification, notification_id, campaign_id):
            self.table.delete(key)

    def of_user(self, user_id: str) -> list[Pending]:
        return [row for _, row in self.table.scan(*self.range_of_user(user_id))]

    def range_of_user(self, user_id: str) -> tuple[bytes, bytes]:
        """The keys of what is open of the user: where they start and end."""
        return _range(b"u", user_id)

    def range_of_notification(self, notification_id: str, user_id: str | None) -> tuple[bytes, bytes]:
        """``user_id`` None: of all its recipients."""
        return _range(b"n", notification_id, user_id)

    def range_of_campaign(self, campaign_id: str, user_id: str | None) -> tuple[bytes, bytes]:
        return _range(b"c", campaign_id, user_id)


def _range(kind: bytes, *names: str | None) -> tuple[bytes, bytes]:
    start = kind + b"".join(name.encode() + b"\0" for name in names if name is not None)
    return start, start[:-1] + b"\1"


def _keys(user_id: str, notification: bytes, notification_id: str, campaign_id: str | None) -> Iterator[bytes]:
    yield b"u" + user_id.encode() + b"\0" + notification
    yield b"n" + notification_id.encode() + b"\0" + notification
    if campaign_id is not None:
        yield b"c" + campaign_id.encode() + b"\0" + notification
