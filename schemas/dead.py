"""Dead letters: records that can't be taken, with the reason and the field (contract, "Topics")."""

from base64 import b64encode
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from schemas.decode import Reader


class DeadLetter(Struct, frozen=True, kw_only=True):
    topic: str
    partition: int
    offset: int
    timestamp: int
    #: Name and value (base64) of each header.
    headers: list[tuple[str, str | None]]
    key: str | None
    value: str | None
    reason: str
    field: str | None
    role: str
    #: RFC 3339, UTC.
    at: str


read_dead: Reader[DeadLetter] = Reader(DeadLetter)


def base64_of(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


def headers_of(headers: Sequence[tuple[str, bytes | None]]) -> list[tuple[str, str | None]]:
    return [(name, base64_of(value)) for name, value in headers]


encode_dead = msgspec.json.Encoder().encode
