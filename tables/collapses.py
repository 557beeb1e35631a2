"""collapses: what of a user shares a collapse key, and may still be replaced by a newer one, or was begun lately."""

from hashlib import blake2b

from msgspec import Struct

from schemas.words import Channel
from tables.table import TableSpec

#: As long as a send may be replayed, which must not replace a newer one: longer than the send topics are kept.
REPLAYABLE_MS = 8 * 24 * 3600 * 1000


class Collapse(Struct, frozen=True, array_like=True, gc=False):
    """Keys of rows in notifications, oldest first."""

    notifications: tuple[bytes, ...]
    until_ms: int
    #: By channel: those that were queued or held there last.
    begun: dict[Channel, tuple[bytes, ...]] = {}


COLLAPSES: TableSpec[Collapse] = TableSpec("collapses", Collapse, until="until_ms")


def collapse_key(user_id: str, key: str) -> bytes:
    """With a hash of the key: keys stand in the log a day longer than their rows, when a user is erased, too."""
    return user_id.encode() + b"\0" + blake2b(key.encode(), digest_size=16).digest()


def plain_collapse_key(user_id: str, key: str) -> bytes:
    """As it was written before."""
    return f"{user_id}\0{key}".encode()
