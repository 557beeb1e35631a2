"""digests: what is being gathered, one row for each (user, rule, value of its key, channel), and those that are full.

A full one has the key of the digest and more behind it, until it is closed.
"""

from hashlib import blake2b

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
    """With a hash of the value: keys stand in the log a day longer than their rows, when a user is erased, too."""
    hashed = blake2b(value.encode(), digest_size=16).hexdigest()
    return f"{user_id}\0{rule}\0{hashed}\0{channel}".encode()


def plain_digest_key(user_id: str, rule: str, value: str, channel: Channel) -> bytes:
    """As it was written before, for digests that are open still."""
    return f"{user_id}\0{rule}\0{value}\0{channel}".encode()
