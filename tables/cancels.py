"""cancels: notifications and campaigns that were called off, remembered for a while so that a cancel may come first."""

from msgspec import Struct

from app.ports import Rows
from schemas.commands import NotificationCancel
from tables.table import Table, TableSpec

REMEMBERED_MS = 7 * 24 * 3600 * 1000

#: The row that says until when there is any cancel at all, so that most requests need not look for theirs.
_ANY = b"\0"


class Cancel(Struct, frozen=True, array_like=True, gc=False):
    """``source`` None: whoever asked for it. ``until_ms``: requests recorded before it are cancelled."""

    source: str | None
    until_ms: int


class Cancels(Struct, frozen=True, array_like=True, gc=False):
    """The cancels of one notification or campaign, for one user or for all of this partition."""

    cancels: tuple[Cancel, ...]
    #: The latest of theirs; None: written before this was noted, and never swept.
    until_ms: int | None = None


CANCELS: TableSpec[Cancels] = TableSpec("cancels", Cancels, until="until_ms")


class CancelTable:
    """Who was told no more of what."""

    def __init__(self, rows: Rows) -> None:
        self.table: Table[Cancels] = Table(CANCELS, rows)

    def add(self, command: NotificationCancel, now: int) -> None:
        until = now + REMEMBERED_MS
        cancel = Cancel(command.source, until)
        if command.notification_id is not None:
            self._add(_key(b"n", command.notification_id.lower(), command.user_id), cancel)
        if command.campaign_id is not None:
            self._add(_key(b"c", command.campaign_id, command.user_id), cancel)
        self.table.put(_ANY, Cancels((Cancel(None, until),), until))

    def covers(
        self, user_id: str, notification_id: str, campaign_id: str | None, source: str, recorded_ms: int
    ) -> bool:
        """Whether a request of this source, recorded then, has been cancelled for the user."""
        latest = self.table.get(_ANY)
        if latest is None or latest.cancels[0].until_ms <= recorded_ms:
            return False
        keys = [_key(b"n", notification_id, None), _key(b"n", notification_id, user_id)]
        if campaign_id is not None:
            keys += [_key(b"c", campaign_id, None), _key(b"c", campaign_id, user_id)]
        return any(self._covers(key, source, recorded_ms) for key in keys)

    def _add(self, key: bytes, cancel: Cancel) -> None:
        row = self.table.get(key)
        others = (c for c in row.cancels if c.source != cancel.source) if row is not None else ()
        cancels = (*others, cancel)
        self.table.put(key, Cancels(cancels, max(c.until_ms for c in cancels)))

    def _covers(self, key: bytes, source: str, recorded_ms: int) -> bool:
        row = self.table.get(key)
        return row is not None and any(
            recorded_ms < cancel.until_ms and cancel.source in (None, source) for cancel in row.cancels
        )


def _key(kind: bytes, name: str, user_id: str | None) -> bytes:
    return kind + f"{name}\0{user_id or ''}".encode()
