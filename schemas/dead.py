"""Dead letters: records that can't be taken, with the reason and the field (docs/records.md#dead-letters).

A letter always fits into its topic: what is larger than ``WHOLE_BYTES`` is shortened, and JSON makes of a byte six
characters at most.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec
from msgspec import Struct

from schemas.decode import Reader
from schemas.instants import rfc3339
from schemas.sizes import KIB

#: Every kind of refusal: that of the ``Invalid`` that was raised, ``poison`` or ``internal``.
CODES = ("too_large", "undecodable", "invalid", "misplaced", "poison", "internal")
#: Key, value and headers together are kept whole up to this size; of what is larger, so much of the key and the value.
WHOLE_BYTES, KEPT_BYTES = 512 * KIB, 64 * KIB
#: What a header has on the wire at least, beside its name and value.
_HEADER_BYTES = 2
_BASE64 = "base64:"
_REASON, _FIELD = 1_000, 500
#: Letters and digits of any script, and what stands in names and paths.
_PLAIN = re.compile(r'(?:[\w .\-\[\]*@:/+$]|"")+')


class DeadLetter(Struct, frozen=True, kw_only=True, omit_defaults=True):
    topic: str
    partition: int
    offset: int
    timestamp: int
    #: Name and value (base64) of each header; a name that isn't UTF-8 is ``base64:…``.
    headers: list[tuple[str, str | None]]
    key: str | None
    value: str | None
    reason: str
    #: The kind of refusal: ``schemas.decode.Invalid.code``, ``internal`` or ``poison``. None before there were kinds.
    code: str | None = None
    #: A plain name, or null.
    field: str | None
    role: str
    #: RFC 3339, UTC.
    at: str
    #: Of a letter that isn't whole: how many bytes the value had. It holds the first of them, and no headers.
    value_bytes: int | None = None
    truncated: bool = False


read_dead: Reader[DeadLetter] = Reader(DeadLetter, own=True)
encode_dead = msgspec.json.Encoder().encode


class Record(Protocol):
    """A record as it was read; in header names, bytes that aren't UTF-8 are as ``surrogateescape`` has them."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


def dead_letter(record: Record, code: str, reason: str, field: str | None, role: str, now_ms: int) -> DeadLetter:
    """``role``: whose it would have been. ``now_ms``: Unix ms. Whatever the record holds, there is a letter for it."""
    whole = _is_whole(record)
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        headers=[(_name(name), _base64(value)) for name, value in record.headers] if whole else [],
        key=_base64(record.key if whole else _first(record.key)),
        value=_base64(record.value if whole else _first(record.value)),
        code=code,
        reason=_clipped(reason, _REASON),
        field=_plain(field),
        role=role,
        at=rfc3339(now_ms),
        value_bytes=None if whole else len(record.value or b""),
        truncated=not whole,
    )


def shortened(letter: DeadLetter) -> DeadLetter:
    """A letter of before there was a limit, as it would be now."""
    value = _bytes(letter.value)
    return msgspec.structs.replace(
        letter,
        headers=[],
        key=_base64(_first(_bytes(letter.key))),
        value=_base64(_first(value)),
        reason=_clipped(letter.reason, _REASON),
        field=_plain(letter.field),
        value_bytes=len(value or b"") if letter.value_bytes is None else letter.value_bytes,
        truncated=True,
    )


class Contents(NamedTuple):
    """What a record held. In header names, bytes that aren't UTF-8 are as ``surrogateescape`` has them."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def contents_of(letter: DeadLetter) -> Contents:
    """What the letter's record held, as far as the letter has it."""
    headers = [(_name_of(name), _bytes(value)) for name, value in letter.headers]
    return Contents(_bytes(letter.key), _bytes(letter.value), headers)


def dead_key(letter: DeadLetter) -> bytes | None:
    """The key under which a letter lies: that of its record, as far as the letter has it."""
    return _bytes(letter.key)


def _is_whole(record: Record) -> bool:
    size = len(record.key or b"") + len(record.value or b"") + _HEADER_BYTES * len(record.headers)
    if size > WHOLE_BYTES:  # (there may be millions of headers)
        return False
    return size + sum(len(_raw(name)) + len(value or b"") for name, value in record.headers) <= WHOLE_BYTES


def _first(value: bytes | None) -> bytes | None:
    return None if value is None else value[:KEPT_BYTES]


def _raw(name: str) -> bytes:
    """A header's name as it lay in the log."""
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def _name(name: str) -> str:
    """A name that begins like one in base64 is written in base64, too: so each can be told from the other."""
    try:
        name.encode()
    except UnicodeEncodeError:
        pass
    else:
        if not name.startswith(_BASE64):
            return name
    return _BASE64 + b64encode(_raw(name)).decode()


def _name_of(written: str) -> str:
    """A header's name as it was read, of how the letter has it."""
    if not written.startswith(_BASE64):
        return written
    return b64decode(written.removeprefix(_BASE64)).decode(errors="surrogateescape")


def _clipped(text: str, most: int) -> str:
    return text[:most].encode("utf-8", "replace").decode()


def _plain(field: str | None) -> str | None:
    """A field's name; None where it is no more than what random bytes looked like."""
    if field is None or not _PLAIN.fullmatch(field) or not field.isprintable():
        return None
    return field[:_FIELD]


def _base64(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)
