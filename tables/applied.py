"""applied: commands that were carried out, so that one that is read again changes nothing."""

from hashlib import blake2b

from msgspec import Struct

from tables.table import TableSpec

#: As long as commands are kept on their topic.
REMEMBERED_MS = 30 * 24 * 3600 * 1000


class Applied(Struct, frozen=True, array_like=True, gc=False):
    """``position``: where the command that was carried out lies."""

    position: str
    until_ms: int


APPLIED: TableSpec[Applied] = TableSpec("applied", Applied, until="until_ms")


def applied_key(user_id: str | None, command_id: str) -> bytes:
    return blake2b(f"{user_id or ''}\0{command_id}".encode(), digest_size=16).digest()
