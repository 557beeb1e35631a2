"""Long work behind one record is done a slice at a time, so that others have their turn in between
(docs/decisions/0010-long-work-in-slices.md)."""

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from tables.table import Table

Row = TypeVar("Row", bound=msgspec.Struct)

#: The most rows that a slice looks at, and the most bytes of requests that it loads.
ROWS = 100
BYTES = 1024 * 1024
#: So many rows are read ahead.
_PAGE = 20


class Share:
    """What one slice may still do."""

    __slots__ = ("_bytes", "_rows")

    def __init__(self) -> None:
        self._rows = ROWS
        self._bytes = BYTES

    @property
    def is_spent(self) -> bool:
        return self._rows <= 0 or self._bytes <= 0

    def spend(self, size: int, rows: int = 1) -> None:
        """``size``: bytes of requests that were loaded."""
        self._rows -= rows
        self._bytes -= size


class Walk(Share, Generic[Row]):
    """The rows of a range until the slice's share is spent. Those that are changed meanwhile are as they were read."""

    __slots__ = ("_end", "_table", "at", "is_over")

    def __init__(self, table: Table[Row], start: bytes, end: bytes) -> None:
        super().__init__()
        self._table = table
        self._end = end
        #: Where the next slice begins.
        self.at = start
        #: Whether that was all.
        self.is_over = False

    def __iter__(self) -> Iterator[tuple[bytes, Row]]:
        while True:
            page = self._table.scan(self.at, self._end, _PAGE)
            for key, row in page:
                if self.is_spent:
                    return
                self.at = key + b"\0"
                yield key, row
                self.spend(0)
            if len(page) < _PAGE:
                self.is_over = True
                return
