"""routed: whose each queued send is, for receipts that name nothing else."""

from msgspec import Struct

from schemas.words import Channel
from tables.table import TableSpec

#: How long after its expiry receipts of a send are awaited.
RECEIPTS_MS = 14 * 24 * 3600 * 1000


class Routed(Struct, frozen=True, array_like=True, gc=False):
    user_id: str
    #: The key of its row in notifications.
    notification: bytes
    channel: Channel
    until_ms: int


ROUTED: TableSpec[Routed] = TableSpec("routed", Routed, until="until_ms")


def routed_key(send_id: str) -> bytes:
    return send_id.encode()
