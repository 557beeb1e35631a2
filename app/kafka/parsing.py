"""Records of a batch that aiokafka's fast reader refuses, one by one: a bad one costs its neighbours nothing.

A header's name that isn't UTF-8 keeps its bytes (``surrogateescape``), so that a dead letter can say them.
"""

from collections.abc import Iterator
from typing import NamedTuple

from app.kafka.batches import RECORDS_AT, Header, header_of

#: More headers than anybody means; each takes much more memory than bytes.
MOST_HEADERS = 10_000
_MOST_SHIFT = 63
_LATEST = 2**63 - 1


class Parsed(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class Refused(NamedTuple):
    """A record that can't be read, or (``rest``) all of them from this one on."""

    offset: int
    reason: str
    rest: bool = False


class _Bad(Exception):
    pass


def parse(data: bytes) -> Iterator[Parsed | Refused]:
    """``data``: a whole batch of format 2, unpacked."""
    header, at = header_of(data), RECORDS_AT
    offset = header.base
    for _ in range(header.records):
        try:
            length, start = _varint(data, at, len(data))
            if not 0 <= length <= len(data) - start:
                raise _Bad(f"a record of {length} bytes")
        except _Bad as bad:
            yield Refused(offset, str(bad), rest=True)
            return
        at = start + length
        try:
            record = _record(data, start, at, header)
        except _Bad as bad:
            yield Refused(offset, str(bad))
        else:
            offset = record.offset
            yield record
        offset += 1


def _record(data: bytes, at: int, end: int, header: Header) -> Parsed:
    later, at = _varint(data, at + 1, end)  # (after its attributes, which say nothing)
    delta, at = _varint(data, at, end)
    if not 0 <= delta <= header.last_delta:
        raise _Bad(f"an offset {delta} after the first of {header.last_delta + 1}")
    key, at = _bytes(data, at, end)
    value, at = _bytes(data, at, end)
    count, at = _varint(data, at, end)
    if not 0 <= count <= MOST_HEADERS:
        raise _Bad(f"{count} headers")
    headers = []
    for _ in range(count):
        name, at = _bytes(data, at, end)
        content, at = _bytes(data, at, end)
        headers.append(((name or b"").decode(errors="surrogateescape"), content))
    timestamp = header.timestamp if header.log_append else header.timestamp + later
    if not -1 <= timestamp <= _LATEST:
        timestamp = -1
    return Parsed(header.base + delta, timestamp, key, value, tuple(headers))


def _bytes(data: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    length, at = _varint(data, at, end)
    if length < 0:
        return None, at
    if length > end - at:
        raise _Bad(f"{length} bytes where {end - at} are left")
    return data[at : at + length], at + length


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    result = shift = 0
    while at < end and shift <= _MOST_SHIFT:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return (result >> 1) ^ -(result & 1), at
        shift += 7
    raise _Bad("a number that doesn't end")
