"""erasures: users who were erased and have not begun anew; all that remains of them is a hash."""

from hashlib import blake2b

from msgspec import Struct

from tables.table import TableSpec


class Erasure(Struct, frozen=True, array_like=True, gc=False):
    at_ms: int


ERASURES: TableSpec[Erasure] = TableSpec("erasures", Erasure)


def erasure_key(user_id: str) -> bytes:
    return blake2b(user_id.encode(), digest_size=16, person=b"tocsin-erasure").digest()
