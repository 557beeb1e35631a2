"""The journal: a checkpoint as one Kafka record, written before any of its effects.

One record is appended or it isn't, so a checkpoint is atomic: what a batch changed, what it produces and how far it
read are durable together. After a crash the entries that were not yet carried out are carried out again, byte for
byte; what was never journaled never happened (docs/decisions/0002-journal.md).
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from app.domain.out import Produce

#: Rows changed by table: key and new bytes, None for a deleted row.
Changes = Mapping[str, Mapping[bytes, bytes | None]]


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """One checkpoint of one partition."""

    #: The next offset to read of every topic that the partition's runner reads.
    positions: dict[str, int]
    changes: dict[str, dict[bytes, bytes | None]]
    outputs: list[Produce]


encode_entry: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Entry).decode


def decode_entry(value: bytes) -> Entry:
    """Raises msgspec.DecodeError for what isn't an entry."""
    return _decode(value)
