"""Where bytes lie that a running system has written: every file, decompressed, whatever it calls itself."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import cramjam

_CHECKSUM, _HEADER = 16, 9
_NONE, _LZ4, _ZSTD = 0x02, 0x82, 0x90


class Planted:
    """Values that nobody else writes, by the field that each was planted in; each also as base64 and JSON have it."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = dict(values)
        self._forms = {field: tuple(_forms(value)) for field, value in values.items()}

    def found(self, folder: Path) -> dict[str, set[str]]:
        """In which files, relative to the folder, each field's value lies."""
        found: dict[str, set[str]] = {field: set() for field in self.values}
        for file in sorted(folder.rglob("*")):
            with suppress(FileNotFoundError, NotADirectoryError):  # deleted while it is looked for
                if not file.is_file() or file.is_symlink():
                    continue
                held = file.read_bytes()
                name = str(file.relative_to(folder))
                held += b"".join(unpacked(held)) if name.startswith("data/clickhouse/") else b""
                for field, forms in self._forms.items():
                    if any(form in held for form in forms):
                        found[field].add(name)
        return found


def _forms(value: str) -> Iterator[bytes]:
    yield value.encode()
    yield json.dumps(value).encode()[1:-1]
    for shift in range(3):  # wherever it lies within a base64 text; what is shared with its neighbours is cut off
        assert len(value) >= 10, "too short to be told from chance"
        encoded = base64.b64encode(bytes(shift) + value.encode())
        yield encoded[4 if shift else 0 : len(encoded) // 4 * 4 - 4]


def unpacked(data: bytes) -> Iterator[bytes]:
    """The contents of ClickHouse's compressed blocks, which follow each other; of what has none, nothing."""
    at = 0
    while at + _CHECKSUM + _HEADER <= len(data):
        method = data[at + _CHECKSUM]
        size = int.from_bytes(data[at + _CHECKSUM + 1 : at + _CHECKSUM + 5], "little")
        plain = int.from_bytes(data[at + _CHECKSUM + 5 : at + _CHECKSUM + 9], "little")
        end = at + _CHECKSUM + size
        if size < _HEADER or end > len(data) or plain > 1 << 28:
            return
        packed = data[at + _CHECKSUM + _HEADER : end]
        with suppress(Exception):  # a file that isn't of blocks
            if method == _LZ4:
                yield bytes(cramjam.lz4.decompress_block(packed, output_len=plain))
            elif method == _ZSTD:
                yield bytes(cramjam.zstd.decompress(packed))
            elif method == _NONE:
                yield packed
        at = end
