"""collapses: what of a user shares a collapse key and may still be replaced by a newer one."""

from msgspec import Struct

from tables.table import TableSpec


class Collapse(Struct, frozen=True, array_like=True, gc=False):
    """Keys of rows in notifications, oldest first."""

    notifications: tuple[bytes, ...]
    until_ms: int


COLLAPSES: TableSpec[Collapse] = TableSpec("collapses", Collapse, until="until_ms")


def collapse_key(user_id: str, key: str) -> bytes:
    return f"{user_id}\0{key}".encode()
