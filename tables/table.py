"""A table of one partition as a batch sees it: an overlay of typed rows over the stored bytes.

A row is stored as one byte of version and the struct's MessagePack. Nothing is written here: the runner takes the
changes of a whole batch, makes them durable and only then writes them to the store.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from app.ports import Rows

Row = TypeVar("Row", bound=msgspec.Struct)

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class TableSpec(Generic[Row]):
    """A table's name, the struct of its rows and the version they are written with."""

    name: str
    row: type[Row]
    version: int = 1
    #: Unix milliseconds after which a row means nothing and may be swept; None: never.
    expires: Callable[[Row], int | None] | None = None


class Table(Generic[Row]):
    """Typed rows over stored bytes. Rows are values: change one by putting another."""

    def __init__(self, spec: TableSpec[Row], rows: Rows) -> None:
        self.spec = spec
        self._rows = rows
        self._decode = msgspec.msgpack.Decoder(spec.row).decode
        self._encode = msgspec.msgpack.Encoder().encode
        self._version = bytes([spec.version])
        self._changed: dict[bytes, Row | None] = {}
        self._read: dict[bytes, Row | None] = {}
        self._undo: list[tuple[bytes, object]] = []

    def get(self, key: bytes) -> Row | None:
        if key in self._changed:
            return self._changed[key]
        if key in self._read:
            return self._read[key]
        row = self._decoded(self._rows.get(self.spec.name, key))
        self._read[key] = row
        return row

    def put(self, key: bytes, row: Row) -> None:
        self._change(key, row)

    def delete(self, key: bytes) -> None:
        if self.get(key) is not None:
            self._change(key, None)

    def scan(self, start: bytes, end: bytes | None, limit: int | None = None) -> list[tuple[bytes, Row]]:
        """Rows with start <= key < end in the order of their keys, this batch's changes included."""
        return list(self._merged(start, end)) if limit is None else self._first(start, end, limit)

    def changes(self) -> dict[bytes, bytes | None]:
        """What the batch changed: the new bytes, or None for a deleted row."""
        return {key: None if row is None else self._version + self._encode(row) for key, row in self._changed.items()}

    def begin(self) -> None:
        """From here on, ``rollback`` undoes (one record's changes)."""
        self._undo.clear()

    def rollback(self) -> None:
        for key, previous in reversed(self._undo):
            if previous is _ABSENT:
                del self._changed[key]
            else:
                self._changed[key] = previous  # type: ignore[assignment]
        self._undo.clear()

    def clear(self) -> None:
        """Forgets the batch: its changes are stored, or abandoned."""
        self._changed.clear()
        self._read.clear()
        self._undo.clear()

    def _change(self, key: bytes, row: Row | None) -> None:
        self._undo.append((key, self._changed.get(key, _ABSENT)))
        self._changed[key] = row

    def _decoded(self, value: bytes | None) -> Row | None:
        if value is None:
            return None
        if value[0] != self.spec.version:
            raise ValueError(f"table {self.spec.name}: row version {value[0]}, known is {self.spec.version}")
        return self._decode(memoryview(value)[1:])

    def _first(self, start: bytes, end: bytes | None, limit: int) -> list[tuple[bytes, Row]]:
        found: list[tuple[bytes, Row]] = []
        for pair in self._merged(start, end):
            if len(found) >= limit:
                break
            found.append(pair)
        return found

    def _merged(self, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, Row]]:
        changed = sorted(k for k in self._changed if k >= start and (end is None or k < end))
        position = 0
        for key, value in self._rows.scan(self.spec.name, start, end):
            while position < len(changed) and changed[position] < key:
                row = self._changed[changed[position]]
                if row is not None:
                    yield changed[position], row
                position += 1
            if position < len(changed) and changed[position] == key:
                continue  # yielded in its turn, or deleted
            stored = self._decoded(value)
            assert stored is not None
            yield key, stored
        for key in changed[position:]:
            row = self._changed[key]
            if row is not None:
                yield key, row
