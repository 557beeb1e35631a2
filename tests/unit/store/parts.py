"""What lies in a folder of ClickHouse's, decompressed: the columns of every part, those replaced since too.

A compressed file is a row of blocks: 16 bytes of checksum, the codec, the compressed size with these 9 bytes, the size,
the bytes.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cramjam

_CHECKSUM, _HEADER = 16, 9


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file, and the text of its blocks where it has any. What is deleted meanwhile is passed over."""
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            with suppress(FileNotFoundError):
                raw = path.read_bytes()
                yield path, raw
                if path.suffix in (".bin", ".cidx", ".cmrk2"):
                    yield path, b"".join(_blocks(raw))


def _blocks(raw: bytes) -> Iterator[bytes]:
    at = 0
    while at + _CHECKSUM + _HEADER <= len(raw):
        head = at + _CHECKSUM
        size = int.from_bytes(raw[head + 1 : head + 5], "little")
        length = int.from_bytes(raw[head + 5 : head + 9], "little")
        if not _HEADER <= size <= len(raw) - head:
            return
        body = raw[head + _HEADER : head + size]
        match raw[head]:
            case 0x02:
                yield body
            case 0x82:
                yield bytes(cramjam.lz4.decompress_block(body, output_len=length))
            case 0x90:
                yield bytes(cramjam.zstd.decompress(body))
        at = head + size
