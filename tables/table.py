"""A table of one partition as a batch sees it: an overlay of typed rows over the stored bytes.

A row is stored as one byte of version and the struct's MessagePack. Rows are trees, never in a cycle, so that Python's
garbage collector need not look at them (``gc=False``: it took a sixth of the router's time).

Nothing is written here: the runner takes the changes of a whole batch, makes them durable and only then writes them to
the store.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

import msgspec

from app.ports import Rows

Row = TypeVar("Row", bound=msgspec.Struct)

_UNREAD: Any = object()
#: In place of bytes: a row that was changed and isn't encoded yet, and one that the batch hasn't changed.
_NOT_ENCODED: Any = object()
_UNCHANGED: Any = object()
#: What a changed row has in a journal entry beside its key and value, at most.
_ROW_BYTES = 10


@dataclass(frozen=True, slots=True)
class TableSpec(Generic[Row]):
    """A table's name, the struct of its rows and the version they are written with."""

    name: str
    row: type[Row]
    version: int = 1
    #: The field that says after which moment a row means nothing and may be swept (Unix ms; None: never).
    until: str | None = None
    #: Rows that stay whatever that field says.
    stays: Callable[[Row], bool] = lambda row: False
    #: How many rows, and absences, are kept decoded from batch to batch; of users who come again and again most reads
    #: and decodings are saved.
    kept: int = 0


class Table(Generic[Row]):
    """Typed rows over stored bytes. Rows are values: change one by putting another."""

    __slots__ = ("_changed", "_decode", "_encode", "_name", "_rows", "_seen", "_until", "_version", "spec", "undo")

    def __init__(self, spec: TableSpec[Row], rows: Rows) -> None:
        self.spec = spec
        self._name = spec.name
        self._rows = rows
        self._decode = msgspec.msgpack.Decoder(spec.row).decode
        self._encode = msgspec.msgpack.Encoder().encode
        self._version = bytes([spec.version])
        self._until = None if spec.until is None else _until_only(spec.row, spec.until)
        #: Rows as the batch left them, those that were only read included: most are asked for more than once.
        self._seen: dict[bytes, Row | None] = {}
        #: The bytes of each changed row; None: deleted.
        self._changed: dict[bytes, Any] = {}
        #: What one record changed: each key, its row and its bytes before.
        self.undo: list[tuple[bytes, object, object]] = []

    def get(self, key: bytes) -> Row | None:
        row = self._seen.get(key, _UNREAD)
        if row is _UNREAD:
            row = self._seen[key] = self._decoded(self._rows.get(self._name, key))
        return row

    def put(self, key: bytes, row: Row) -> None:
        self._change(key, row)

    def delete(self, key: bytes) -> None:
        if self.get(key) is not None:
            self._change(key, None)

    def scan(self, start: bytes, end: bytes | None, limit: int | None = None) -> list[tuple[bytes, Row]]:
        """Rows with start <= key < end in the order of their keys, this batch's changes included."""
        return list(self._merged(start, end)) if limit is None else self._first(start, end, limit)

    def expired(self, start: bytes, limit: int, now: int) -> tuple[list[bytes], bytes | None]:
        """Which of the next ``limit`` stored rows mean nothing any more at ``now`` (Unix ms), and where to go on; None:
        those were the last. What the batch changed is left for the next round."""
        if self._until is None:
            return [], None
        found: list[bytes] = []
        decode, changed, stays = self._until, self._changed, self.spec.stays
        for looked, (key, value) in enumerate(self._rows.scan(self._name, start, None)):
            if looked == limit:
                return found, key
            until = decode(self._body(value)).until
            if until is not None and until < now and key not in changed and not stays(self._decode(self._body(value))):
                found.append(key)
        return found, None

    def changes(self) -> dict[bytes, bytes | None]:
        """What the batch changed: the new bytes, or None for a deleted row."""
        return {
            key: self._encoded(self._seen[key]) if value is _NOT_ENCODED else value
            for key, value in self._changed.items()
        }

    @property
    def is_changed(self) -> bool:
        """Whether the batch changed any row."""
        return bool(self._changed)

    def encode(self) -> int:
        """Encodes the rows that one record changed, so that what can't be encoded is noticed while it can be undone.

        Returns how many bytes they take in a journal entry, at most. Raises what the encoder raises.
        """
        changed, seen, size = self._changed, self._seen, 0
        for key, _, _ in self.undo:
            value = changed[key]
            if value is _NOT_ENCODED:
                changed[key] = value = self._version + self._encode(seen[key])
                size += len(value)
            size += len(key) + _ROW_BYTES
        return size

    def begin(self) -> None:
        """From here on, ``rollback`` undoes (one record's changes)."""
        self.undo.clear()

    def rollback(self) -> None:
        for key, previous, value in reversed(self.undo):
            if previous is _UNREAD:
                del self._seen[key]
            else:
                self._seen[key] = previous  # type: ignore[assignment]
            if value is _UNCHANGED:
                del self._changed[key]
            else:
                self._changed[key] = value
        self.undo.clear()

    def stored(self) -> None:
        """The batch's changes are in the store; of what was seen, the latest is kept (``TableSpec.kept``)."""
        kept, seen = self.spec.kept, self._seen
        if not kept:
            self.clear()
            return
        self._changed.clear()
        self.undo.clear()
        if len(seen) > 2 * kept:
            for key in list(islice(seen, len(seen) - kept)):
                del seen[key]

    def clear(self) -> None:
        """Forgets the batch, and all that was seen: its changes are abandoned, or the store may have changed."""
        if self._seen:
            self._seen.clear()
            self._changed.clear()
            self.undo.clear()

    def _change(self, key: bytes, row: Row | None) -> None:
        self.undo.append((key, self._seen.get(key, _UNREAD), self._changed.get(key, _UNCHANGED)))
        self._seen[key] = row
        self._changed[key] = None if row is None else _NOT_ENCODED

    def _encoded(self, row: Row | None) -> bytes | None:
        return None if row is None else self._version + self._encode(row)

    def _decoded(self, value: bytes | None) -> Row | None:
        return None if value is None else self._decode(self._body(value))

    def _body(self, value: bytes) -> memoryview:
        if value[0] != self.spec.version:
            raise ValueError(f"table {self.spec.name}: row version {value[0]}, known is {self.spec.version}")
        return memoryview(value)[1:]

    def _first(self, start: bytes, end: bytes | None, limit: int) -> list[tuple[bytes, Row]]:
        return list(islice(self._merged(start, end), limit))  # (a step further may pass thousands of deleted rows)

    def _merged(self, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, Row]]:
        changed = sorted(k for k in self._changed if k >= start and (end is None or k < end))
        position = 0
        for key, value in self._rows.scan(self._name, start, end):
            while position < len(changed) and changed[position] < key:
                row = self._seen[changed[position]]
                if row is not None:
                    yield changed[position], row
                position += 1
            if position < len(changed) and changed[position] == key:
                continue  # yielded in its turn, or deleted
            stored = self._decoded(value)
            assert stored is not None
            yield key, stored
        for key in changed[position:]:
            row = self._seen[key]
            if row is not None:
                yield key, row


def _until_only(row: type[Row], field: str) -> Callable[[memoryview], Any]:
    """Decodes of a row no more than that field, as ``until``."""
    before = row.__struct_fields__[: row.__struct_fields__.index(field)]
    fields: list[Any] = [*((name, msgspec.Raw) for name in before), ("until", int | None, None)]
    until = msgspec.defstruct(f"{row.__name__}Until", fields, array_like=True, gc=False)
    return msgspec.msgpack.Decoder(until).decode
