"""Batches as a broker holds them, byte for byte."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka.record.control_record import ABORT_MARKER, COMMIT_MARKER
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

Headers = Sequence[tuple[bytes | None, bytes | None]]
_TRANSACTIONAL, _CONTROL = 0x10, 0x20


def varint(value: int) -> bytes:
    value, out = (value << 1) ^ (value >> 63), bytearray()
    while value > 0x7F:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    out.append(value)
    return bytes(out)


def sized(content: bytes | None) -> bytes:
    return varint(-1) if content is None else varint(len(content)) + content


def record(delta: int, key: bytes | None, value: bytes | None, headers: Headers = ()) -> bytes:
    body = b"\0" + varint(0) + varint(delta) + sized(key) + sized(value) + varint(len(headers))
    for name, content in headers:
        body += sized(name) + sized(content)
    return varint(len(body)) + body


def batch(
    base: int,
    records: Sequence[bytes],
    *,
    last_delta: int | None = None,
    codec: int = 0,
    pack: Callable[[bytes], bytes] = bytes,
    producer: int = -1,
    attributes: int = 0,
    magic: int = 2,
    count: int | None = None,
    timestamp: int = 1_000,
) -> bytes:
    """``last_delta``: of the last offset, where compaction took the record; ``pack``: compresses."""
    last = len(records) - 1 if last_delta is None else last_delta
    number = len(records) if count is None else count
    checked = struct.pack(
        ">hiqqqhii", attributes | codec, last, timestamp, timestamp, producer, 0 if producer >= 0 else -1, -1, number
    ) + pack(b"".join(records))
    after_length = struct.pack(">ibI", 0, magic, calc_crc32c(checked)) + checked
    return struct.pack(">qi", base, len(after_length)) + after_length


def plain(base: int, *values: bytes) -> bytes:
    return batch(base, [record(n, b"k", value) for n, value in enumerate(values)])


def transactional(base: int, producer: int, *values: bytes) -> bytes:
    records = [record(n, b"k", value) for n, value in enumerate(values)]
    return batch(base, records, producer=producer, attributes=_TRANSACTIONAL)


def marker(base: int, producer: int, commit: bool) -> bytes:
    kind = COMMIT_MARKER if commit else ABORT_MARKER
    content = record(0, struct.pack(">hh", kind.version, kind.type_), b"\0" * 6)
    return batch(base, [content], producer=producer, attributes=_TRANSACTIONAL | _CONTROL)


def built(base: int, codec: int, *values: bytes) -> bytes:
    """By aiokafka's own producer."""
    builder: Any = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, 1 << 20)
    for n, value in enumerate(values):
        builder.append(n, 1_000, b"k", value, [])
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, base)
    return bytes(data)


def spoilt(data: bytes) -> bytes:
    """With a wrong checksum."""
    return data[:-1] + bytes([data[-1] ^ 0xFF])
