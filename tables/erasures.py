"""erasures: users who were erased and have not begun anew, and when each erasure was done; only hashes remain."""

from hashlib import blake2b

from msgspec import Struct

from app.domain.erasure import ERASURES_TABLE
from tables.table import TableSpec


class Erasure(Struct, frozen=True, array_like=True):
    at_ms: int


ERASURES: TableSpec[Erasure] = TableSpec(ERASURES_TABLE, Erasure)


def erasure_key(user_id: str) -> bytes:
    return blake2b(user_id.encode(), digest_size=16, person=b"tocsin-erasure").digest()


def certificate_key(erasure_id: str) -> bytes:
    """Of what was done by an erasure's command, whoever it was about."""
    return blake2b(erasure_id.encode(), digest_size=16, person=b"tocsin-certific").digest()
