"""dedup: the first of requests that say the same without having a key, by a hash of what they say."""

from msgspec import Struct

from tables.table import TableSpec


class First(Struct, frozen=True, array_like=True, gc=False):
    """``recorded_ms``: the timestamp of its record, from which the window counts."""

    notification_id: str
    recorded_ms: int
    until_ms: int


DEDUP: TableSpec[First] = TableSpec("dedup", First, until="until_ms")


def dedup_key(user_id: str, content: bytes) -> bytes:
    return user_id.encode() + b"\0" + content
