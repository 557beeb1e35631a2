"""A fetch's bytes as batches, each with what is known of it before its records are looked at.

In place of aiokafka's own split, which keeps a batch's bytes to itself: those of a batch that it can't read have to be
read another way (``parsing.py``).
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from app.kafka.unpacking import MOST_BYTES, Unpackable, unpack

_PREFIX = struct.Struct(">qi")
_MAGIC_AT = 16
_V2 = struct.Struct(">qiibIhiqqqhii")
_V2_ATTRIBUTES_AT = 21
_CODEC_MASK = 0x07
_LEAST_BYTES = {0: 26, 1: 34, 2: _V2.size}


class Piece(NamedTuple):
    """A batch's bytes. ``base``: its first offset; ``following``: that of the next batch, if there is one here."""

    data: bytes
    base: int
    following: int | None


class Pieces:
    """What a fetch brought of one partition. What the broker cut off at the end is left out, unless there is nothing
    else: then it is a piece that can't be read."""

    def __init__(self, data: bytes | None) -> None:
        self._data = bytes(data) if data is not None and len(data) >= _PREFIX.size else b""

    def has_next(self) -> bool:
        return bool(self._data)

    def size_in_bytes(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Piece]:
        data, at = self._data, 0
        base, end = _extent(data, 0)
        if end is None and data:
            yield Piece(data, base, None)
        while end is not None:
            following, next_end = _extent(data, end)
            yield Piece(data[at:end], base, following if next_end is not None else None)
            at, base, end = end, following, next_end


def _extent(data: bytes, at: int) -> tuple[int, int | None]:
    """A batch's first offset, and where its bytes end; None: not here."""
    if len(data) - at < _PREFIX.size:
        return -1, None
    base, length = _PREFIX.unpack_from(data, at)
    end = at + _PREFIX.size + length
    return base, end if length >= 0 and end <= len(data) else None


class UnreadableBatch(Exception):
    """``next_offset``: where the next batch begins, as far as that can be known."""

    def __init__(self, reason: str, next_offset: int | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.next_offset = next_offset


class Opened(NamedTuple):
    """A batch whose checksum is right. ``batch``: aiokafka's reader of its header, and of its records if they aren't
    packed."""

    batch: Any
    piece: Piece
    codec: int
    magic: int


def open_batch(piece: Piece) -> Opened:
    """Raises UnreadableBatch."""
    data = piece.data
    magic = data[_MAGIC_AT] if len(data) > _MAGIC_AT else -1
    least = _LEAST_BYTES.get(magic)
    if least is None and magic > 2:
        raise UnreadableBatch(f"has the unknown format {magic}", piece.following)
    if least is None or _extent(data, 0)[1] != len(data) or len(data) < least:
        raise UnreadableBatch("is cut off", piece.following)
    try:
        batch = DefaultRecordBatch(data) if magic == 2 else LegacyRecordBatch(data, magic)
        valid = batch.validate_crc()
    except Exception as error:  # whatever aiokafka raises where sizes don't fit
        raise UnreadableBatch(f"is broken: {error}", piece.following) from error
    if not valid:
        raise UnreadableBatch("has a wrong checksum", piece.following)
    if magic == 2:
        return Opened(batch, piece, batch.compression_type, magic)
    return Opened(batch, piece, data[_MAGIC_AT + 1] & _CODEC_MASK, magic)


def readable(opened: Opened) -> tuple[Any, bytes]:
    """A reader of the batch's records, and the bytes that it reads: unpacked here, within bounds. Raises Unpackable."""
    data = opened.piece.data
    if not opened.codec:
        return opened.batch, data
    if opened.magic != 2:
        _unpack_legacy(opened)  # aiokafka unpacks it once more: of this format few are left
        return opened.batch, data
    unpacked = bytearray(data[: _V2.size])
    (attributes,) = struct.unpack_from(">h", unpacked, _V2_ATTRIBUTES_AT)
    struct.pack_into(">h", unpacked, _V2_ATTRIBUTES_AT, attributes & ~_CODEC_MASK)
    unpacked += unpack(opened.codec, data[_V2.size :])
    plain = bytes(unpacked)
    return DefaultRecordBatch(plain), plain


def _unpack_legacy(opened: Opened) -> None:
    data, at = opened.piece.data, _LEAST_BYTES[opened.magic] - 8
    try:
        (key_bytes,) = struct.unpack_from(">i", data, at)
        at += 4 + max(0, key_bytes)
        (value_bytes,) = struct.unpack_from(">i", data, at)
        unpack(opened.codec, data[at + 4 : at + 4 + max(0, value_bytes)], MOST_BYTES)
    except struct.error as error:
        raise Unpackable("is cut off") from error


class Header(NamedTuple):
    """What the header of a batch of format 2 says of its records."""

    base: int
    last_delta: int
    timestamp: int
    log_append: bool
    records: int


def header_of(data: bytes) -> Header:
    base, _, _, _, _, attributes, last_delta, first, greatest, _, _, _, count = _V2.unpack_from(data)
    log_append = bool(attributes & 0x08)
    return Header(base, last_delta, greatest if log_append else first, log_append, count)


#: Where the records of a batch of format 2 begin.
RECORDS_AT = _V2.size
