"""digests: what is being gathered, one row for each (user, rule, value of its key, channel), and those that are full.

A full one has the key of the digest and more behind it, until it is closed.
"""

from msgspec import Struct

from app.domain.digest import OpenDigest
from schemas.words import Channel
from tables.table import TableSpec


class Gathering(Struct, frozen=True, array_like=True, gc=False):
    """``due``: its row in schedule. ``after_erasure``: as of a notification."""

    user_id: str
    digest: OpenDigest
    due: bytes
    after_erasure: str = ""


DIGESTS: TableSpec[Gathering] = TableSpec("digests", Gathering)


def digest_key(user_id: str, rule: str, value: str, channel: Channel) -> bytes:
    return f"{user_id}\0{rule}\0{value}\0{channel}".encode()
