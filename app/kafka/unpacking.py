"""Unpacking compressed batches into bounded memory: a few kilobytes may stand for gigabytes."""

import struct
import zlib
from collections.abc import Callable, Mapping

import cramjam

#: The most that one batch may hold, unpacked.
MOST_BYTES = 64 * 1024 * 1024

_GZIP_WBITS = 31
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16
_FIRST_GUESS = 16
_LEAST_BUFFER = 64 * 1024
#: cramjam's words for an output that doesn't fit its buffer.
_FULL = "whole buffer"


class Unpackable(Exception):
    """What can't be unpacked; the message says why."""


class Oversized(Unpackable):
    """What unpacks to more than it may."""


def unpack(codec: int, packed: bytes, most: int = MOST_BYTES) -> bytes:
    """The records of a batch, packed with Kafka's codec of this number. Raises Unpackable."""
    reader = _CODECS.get(codec)
    if reader is None:
        raise Unpackable(f"is compressed with the unknown codec {codec}")
    name, unpacked = reader
    try:
        return unpacked(packed, most)
    except (Unpackable, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # also what the library calls a panic
        raise Unpackable(f"is not valid {name}: {error}") from error


def _too_large(most: int) -> Oversized:
    return Oversized(f"unpacks to more than {most} bytes")


def _gzip(packed: bytes, most: int) -> bytes:
    unpacked, rest = bytearray(), packed
    while rest:  # (a gzip stream may have several members)
        member = zlib.decompressobj(_GZIP_WBITS)
        unpacked += member.decompress(rest, most + 1 - len(unpacked))
        if len(unpacked) > most:
            raise _too_large(most)
        if not member.eof:
            raise ValueError("it breaks off")
        rest = member.unused_data
    return bytes(unpacked)


def _snappy(packed: bytes, most: int) -> bytes:
    if not packed.startswith(_XERIAL):
        return _snappy_block(packed, most)
    unpacked, at = bytearray(), _XERIAL_HEADER_BYTES
    while at < len(packed):
        (length,) = struct.unpack_from(">i", packed, at)
        at += 4
        if not 0 < length <= len(packed) - at:
            raise ValueError(f"a block of {length} bytes")
        unpacked += _snappy_block(packed[at : at + length], most, len(unpacked))
        at += length
    return bytes(unpacked)


def _snappy_block(block: bytes, most: int, before: int = 0) -> bytes:
    if before + cramjam.snappy.decompress_raw_len(block) > most:
        raise _too_large(most)
    return bytes(cramjam.snappy.decompress_raw(block))


def _into_buffer(decompress_into: Callable[[bytes, bytearray], int]) -> Callable[[bytes, int], bytes]:
    def unpacked(packed: bytes, most: int) -> bytes:
        size = min(most, max(_LEAST_BUFFER, _FIRST_GUESS * len(packed)))
        while True:
            buffer = bytearray(size)
            try:
                written = decompress_into(packed, buffer)
            except cramjam.DecompressionError as error:
                if _FULL not in str(error):
                    raise
                if size == most:
                    raise _too_large(most) from error
                size = min(most, 4 * size)
            else:
                return bytes(memoryview(buffer)[:written])

    return unpacked


#: By Kafka's number.
_CODECS: Mapping[int, tuple[str, Callable[[bytes, int], bytes]]] = {
    1: ("gzip", _gzip),
    2: ("snappy", _snappy),
    3: ("lz4", _into_buffer(cramjam.lz4.decompress_into)),
    4: ("zstd", _into_buffer(cramjam.zstd.decompress_into)),
}
