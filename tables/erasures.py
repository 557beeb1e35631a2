"""erasures: users who were erased and have not begun anew, and when each erasure was done; only hashes remain.

And the erasures that are being carried out: what was there before one is told from what came after it.
"""

from hashlib import blake2b

from msgspec import Struct

from app.domain.erasure import ERASURES_TABLE, user_hash
from tables.table import TableSpec


class Erasure(Struct, frozen=True, array_like=True):
    at_ms: int
    #: Of one that is being carried out: its command.
    command: str = ""


#: How many are being carried out (in ``at_ms``), so that most requests need not look for theirs.
RUNNING_KEY = b"\0"


ERASURES: TableSpec[Erasure] = TableSpec(ERASURES_TABLE, Erasure)


def erasure_key(user_id: str) -> bytes:
    return user_hash(user_id)


def running_key(user_id: str) -> bytes:
    """While what was there of the user is being forgotten."""
    return blake2b(user_id.encode(), digest_size=16, person=b"tocsin-forgettin").digest()


def certificate_key(erasure_id: str) -> bytes:
    """Of what was done by an erasure's command, whoever it was about."""
    return blake2b(erasure_id.encode(), digest_size=16, person=b"tocsin-certific").digest()
