"""The rows of an upload, as its bytes come: NDJSON, or CSV as RFC 4180 has it. A bad row harms no other.

Never more than a row and what has just come is held. A quote that is never closed would take all rows behind it along:
where its row gets too long, or the upload ends, only the line with the quote is refused, and the next is read as a row.
"""

import csv
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, Protocol

import msgspec
from msgspec import Meta, Raw, Struct

from schemas.campaigns import Row
from schemas.decode import Invalid, Malformed, Reader, TooLarge, UserId

MAX_ROW_BYTES = 128 * 1024
MOST_COLUMNS = 1000
_BOM = b"\xef\xbb\xbf"
_USER_ID = "user_id"
#: A row that isn't closed after so many of its lines with quotes is given up: each look is at all of it.
_MOST_TRIES = 100

Format = Literal["application/x-ndjson", "text/csv"]


class Refused(NamedTuple):
    """A row that can't be taken. ``raw``: what of it names it, when the same upload comes again."""

    line: int
    raw: bytes
    invalid: Invalid


class _Line(NamedTuple):
    """``number``: from 1. ``raw``: with its end; None: it is too long."""

    number: int
    raw: bytes | None


class _Row(Struct, frozen=True):
    user_id: UserId
    data: Raw = Raw(b"")


_read_row: Final = Reader[_Row](_Row)
_Header = Annotated[list[Annotated[str, Meta(min_length=1, max_length=200)]], Meta(max_length=MOST_COLUMNS)]


class Rows(Protocol):
    """Raises Malformed where the upload as a whole can't be read."""

    def feed(self, octets: bytes) -> Iterator[Row | Refused]: ...

    def end(self) -> Iterator[Row | Refused]:
        """What is left, once all has come."""
        ...


Check = Callable[[Row], None]


def rows_of(kind: Format, check: Check = lambda _: None) -> Rows:
    """``check`` raises Invalid for a row that can't be taken."""
    return _Ndjson(check) if kind == "application/x-ndjson" else _Csv(check)


class _Lines:
    """Splits bytes into lines."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._number = 0
        self._is_too_long = False
        self._has_begun = False

    def feed(self, octets: bytes) -> Iterator[_Line]:
        *whole, rest = octets.split(b"\n")
        for part in whole:
            self._add(part)
            yield self._line(b"\n")
        self._add(rest)

    def end(self) -> Iterator[_Line]:
        if self._rest or self._is_too_long:
            yield self._line(b"")

    def _add(self, part: bytes) -> None:
        if self._is_too_long or len(self._rest) + len(part) > MAX_ROW_BYTES:
            self._is_too_long = True
            self._rest.clear()
        else:
            self._rest += part

    def _line(self, ended: bytes) -> _Line:
        self._number += 1
        raw = None if self._is_too_long else bytes(self._rest) + ended
        self._rest.clear()
        self._is_too_long = False
        if not self._has_begun:
            self._has_begun = True
            raw = None if raw is None else raw.removeprefix(_BOM)
        return _Line(self._number, raw)


def _too_long(line: _Line) -> Refused:
    return Refused(line.number, b"", TooLarge(f"the row is larger than {MAX_ROW_BYTES // 1024} KiB"))


def _read(line: int, raw: bytes, written: bytes, check: Check) -> Row | Refused:
    """``written``: the row as JSON."""
    try:
        row = _read_row(written)
        data = bytes(row.data)
        if data and data != b"null" and not data.startswith(b"{"):
            raise Malformed("is not an object", "data")
        is_object = data.startswith(b"{")
        taken = Row(row.user_id, msgspec.json.encode(msgspec.json.decode(data)).decode() if is_object else None)
        check(taken)
        return taken
    except Invalid as invalid:
        return Refused(line, raw, invalid)


class _Ndjson:
    def __init__(self, check: Check) -> None:
        self._lines = _Lines()
        self._check = check

    def feed(self, octets: bytes) -> Iterator[Row | Refused]:
        return self._rows(self._lines.feed(octets))

    def end(self) -> Iterator[Row | Refused]:
        return self._rows(self._lines.end())

    def _rows(self, lines: Iterator[_Line]) -> Iterator[Row | Refused]:
        for line in lines:
            raw = line.raw
            if raw is None:
                yield _too_long(line)
            elif raw.strip():
                yield _read(line.number, raw, raw, self._check)


class _Csv:
    def __init__(self, check: Check) -> None:
        self._lines = _Lines()
        self._check = check
        self._columns: list[str] | None = None
        #: The lines of a row whose quotes aren't closed yet.
        self._open: list[_Line] = []
        self._octets = 0
        self._tries = 0

    def feed(self, octets: bytes) -> Iterator[Row | Refused]:
        for line in self._lines.feed(octets):
            yield from self._take(deque((line,)))

    def end(self) -> Iterator[Row | Refused]:
        for line in self._lines.end():
            yield from self._take(deque((line,)))
        while self._open:
            left: deque[_Line] = deque()
            yield self._give_up(left, _UNCLOSED)
            yield from self._take(left)
        if self._columns is None:
            raise Malformed("has no header: its first line names the columns, user_id among them", "body")

    def _take(self, lines: deque[_Line]) -> Iterator[Row | Refused]:
        while lines:
            line = lines.popleft()
            if line.raw is None:
                if self._open:
                    lines.appendleft(line)
                    yield self._give_up(lines, _UNCLOSED)
                elif self._columns is None:
                    raise Malformed("has a header that is too long", "body")
                else:
                    yield _too_long(line)
                continue
            self._open.append(line)
            self._octets += len(line.raw)
            if self._octets > MAX_ROW_BYTES + 1 or self._tries == _MOST_TRIES:
                yield self._give_up(lines, _UNCLOSED)
            elif len(self._open) == 1 or b'"' in line.raw:
                self._tries += 1
                yield from self._close(lines)

    def _close(self, lines: deque[_Line]) -> Iterator[Row | Refused]:
        """Reads the open lines as a row, if they are one."""
        try:
            texts = [line.raw.decode() for line in self._open if line.raw is not None]
        except UnicodeDecodeError:
            yield self._give_up(lines, Invalid("is not UTF-8"))
            return
        try:
            fields = next(csv.reader(texts, strict=True), [])
        except csv.Error as error:
            if str(error) != "unexpected end of data":
                yield self._give_up(lines, Invalid(f"is not CSV: {error}"))
            return
        number, raw = self._open[0].number, b"".join(line.raw or b"" for line in self._open)
        self._begin_anew()
        if not raw.strip():
            return
        if self._columns is None:
            self._columns = _columns(fields)
        else:
            yield self._row(number, raw, fields, self._columns)

    def _begin_anew(self) -> None:
        self._open.clear()
        self._octets = self._tries = 0

    def _give_up(self, lines: deque[_Line], why: Invalid) -> Refused:
        """The first open line is no row; the others are read anew, before ``lines``."""
        first, *others = self._open
        self._begin_anew()
        if self._columns is None:
            raise Malformed(f"has a header that can't be read: {why.reason}", "body")
        lines.extendleft(reversed(others))
        return Refused(first.number, first.raw or b"", why)

    def _row(self, number: int, raw: bytes, fields: Sequence[str], columns: Sequence[str]) -> Row | Refused:
        if len(fields) != len(columns):
            found = f"has {len(fields)} columns, the header has {len(columns)}"
            return Refused(number, raw, Invalid(found))
        data = dict(zip(columns, fields, strict=True))
        row: dict[str, Any] = {"user_id": data.pop(_USER_ID)}
        if data:
            row["data"] = data
        return _read(number, raw, msgspec.json.encode(row), self._check)


_UNCLOSED = Invalid("has a quote that isn't closed")


def _columns(fields: list[str]) -> list[str]:
    if _USER_ID not in fields:
        raise Malformed("is missing: the first line names the columns, user_id among them", _USER_ID)
    try:
        columns = msgspec.convert(fields, _Header)
    except msgspec.ValidationError:
        raise Malformed(f"names its columns with 1 to 200 characters, and has at most {MOST_COLUMNS}", "body") from None
    for name in columns:
        if columns.count(name) > 1:
            raise Malformed("is the name of two columns", name[:100])
    return columns
