"""Dead letters: records that can't be taken, with the reason and the field (contract, "Topics")."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Protocol

import msgspec
from msgspec import Struct

from schemas.decode import Reader
from schemas.instants import rfc3339


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


read_dead: Reader[DeadLetter] = Reader(DeadLetter, own=True)


class Record(Protocol):
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


def dead_letter(record: Record, reason: str, field: str | None, role: str, now_ms: int) -> DeadLetter:
    """``role``: whose it would have been. ``now_ms``: Unix ms."""
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        headers=[(name, _base64(value)) for name, value in record.headers],
        key=_base64(record.key),
        value=_base64(record.value),
        reason=reason,
        field=field,
        role=role,
        at=rfc3339(now_ms),
    )


def _base64(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


encode_dead = msgspec.json.Encoder().encode
