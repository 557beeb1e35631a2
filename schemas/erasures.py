"""What is said of erasures on ``tocsin_erasures``, by key: what remains to remember one is the hash of a user id.

- ``user/HASH``: an ``Erased``, written by the router that erased the user;
- ``redact/ERASURE_ID``: a ``ToRedact``, also the router's; deleted when ClickHouse is done with it;
- ``redacted/ERASURE_ID``: a ``Redacted``, written by the analytics role.
"""

from typing import Final

import msgspec
from msgspec import Struct

from schemas.decode import Reader

#: ``tocsin_erasures`` has one partition, so that everybody can follow it.
PARTITION = 0

USER, REDACT, REDACTED = b"user/", b"redact/", b"redacted/"


class Erased(Struct, frozen=True, kw_only=True):
    """Times are Unix ms. ``until``: when the user began anew; what was recorded since is theirs."""

    erased_at: int
    until: int | None = None


class ToRedact(Struct, frozen=True, kw_only=True):
    """Whose rows in ClickHouse are to be redacted. ``partition``: the user's."""

    user_id: str
    partition: int
    erased_at: int


class Redacted(Struct, frozen=True, kw_only=True):
    """ClickHouse holds nothing of that user any more but the pseudonymous id; ``at`` in Unix ms."""

    at: int
    by: str
    partition: int


read_erased: Final = Reader[Erased](Erased, own=True)
read_to_redact: Final = Reader[ToRedact](ToRedact, own=True)
read_redacted: Final = Reader[Redacted](Redacted, own=True)
encode_erasure: Final = msgspec.json.Encoder().encode
