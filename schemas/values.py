"""What a JSON value may be: integers from -2^63 to 2^64-1, finite numbers, strings without U+0000 and lone surrogates,
at most 100 deep.

Nearly every record is told to be fine by a look at its bytes; the rest is decoded a second time, by another decoder
than the one that reads it, and every member is looked at, also those that a later one of the same name replaces.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 100
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1

#: A dotted name is cut off here: names are as long as their writers like.
_MAX_FIELD_CHARS = 200
_MAX_INTEGER_CHARS = len(str(MIN_INTEGER))

#: Digits as 0, what else makes a number as it is, anything else as a blank.
_SHAPE = bytes(
    ord("0") if chr(c).isdecimal() and c < 128 else ord("e") if chr(c) in "eE" else c if chr(c) in "+-" else ord(" ")
    for c in range(256)
)
#: Shapes without which no number is out of range: 20 digits, a minus and 19, an exponent of three.
_LONG, _LONGER, _LONG_NEGATIVE = b"0" * 19, b"0" * 20, b"-" + b"0" * 19
_EXPONENT, _EXPONENT_SIGNED = b"0e000", b"0e+000"

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
_PLAIN_MEMBER = re.compile(rb"[A-Za-z0-9_.:@-]{0,100}")
_OUT_OF_RANGE = "is a number out of range: integers from -2^63 to 2^64-1 and finite numbers are accepted"
_NO_CHARACTER = "contains an invalid character: half a surrogate pair, or bytes that aren't UTF-8"
_REFUSED_CHARACTER = re.compile("[\x00\ud800-\udfff]")


class BadValue(Exception):
    """A value that nobody could take: ``reason`` in words, ``field`` its dotted name."""

    def __init__(self, reason: str, field: str | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field


def is_suspicious(raw: bytes) -> bool:
    """Whether the JSON could hold a value that is refused, by its bytes alone; seldom true of what is fine."""
    shape = raw.translate(_SHAPE)
    return (
        (_LONG in shape and (_LONGER in shape or _LONG_NEGATIVE in shape))
        or (b"0e" in shape and (_EXPONENT in shape or _EXPONENT_SIGNED in shape))
        or (b"\\" in raw and b"\\u0000" in raw)
        or raw.count(b"{") + raw.count(b"[") > MAX_DEPTH
    )


def check_values(raw: bytes) -> None:
    """Looks at every value of a JSON text. Raises BadValue; what isn't JSON is left to its reader, who refuses it."""
    _check_depth(raw)
    try:
        value = json.loads(
            raw.decode(errors="surrogateescape"),
            object_pairs_hook=_Members,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_Refused,
        )
    except ValueError:
        return
    check_value(value)


def check_value(value: Any) -> None:
    """Looks at every part of a decoded value, as ``check_values`` does. Raises BadValue."""
    level: list[tuple[Any, _Path]] = [(value, None)]
    for _ in range(MAX_DEPTH + 1):
        below: list[tuple[Any, _Path]] = []
        for part, path in level:
            if isinstance(part, dict | list):
                below.extend(_parts(part, path))
            elif reason := _refusal(part):
                raise BadValue(reason, _dotted(path))
        if not below:
            return
        level = below
    raise BadValue(f"is nested more than {MAX_DEPTH} deep", _dotted(level[0][1]))


_Path = tuple["_Path", str | int] | None


class _Members(dict[str, Any]):
    """An object as its decoder met it, repeated members included."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__()
        self.pairs = pairs


class _Refused(str):
    """A number that isn't taken, as it was written."""

    __slots__ = ()


def _integer(text: str) -> Any:
    if len(text) <= _MAX_INTEGER_CHARS and MIN_INTEGER <= (number := int(text)) <= MAX_INTEGER:
        return number
    return _Refused(text)


def _number(text: str) -> Any:
    number = float(text)
    return number if math.isfinite(number) else _Refused(text)


def _parts(container: Any, path: "_Path") -> Iterator[tuple[Any, "_Path"]]:
    if isinstance(container, list):
        for index, part in enumerate(container):
            yield part, (path, index)
        return
    for name, part in container.pairs if isinstance(container, _Members) else container.items():
        at = (path, name)
        if isinstance(name, str) and (reason := _refusal(name)):
            raise BadValue(f"the name {reason}", _dotted(at))
        yield part, at


def _refusal(value: Any) -> str | None:
    match value:
        case _Refused():
            return _OUT_OF_RANGE
        case str() if (found := _REFUSED_CHARACTER.search(value)) is not None:
            return "holds U+0000" if found[0] == "\0" else _NO_CHARACTER
        case bool() | None:
            return None
        case int() if not MIN_INTEGER <= value <= MAX_INTEGER:
            return _OUT_OF_RANGE
        case float() if not math.isfinite(value):
            return "is not a finite number"
        case _:
            return None


def _check_depth(raw: bytes) -> None:
    """Before anybody decodes it, who would do so by recursion. Names the member of the outermost object."""
    if raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH:
        return
    depth, member = 0, b""
    for token in _TOKEN.finditer(raw):
        match raw[token.start()]:
            case 0x7B | 0x5B:
                depth += 1
            case 0x7D | 0x5D:
                depth -= 1
            case _ if depth == 1:
                member = token[0][1:-1]
        if depth > MAX_DEPTH:
            named = raw.lstrip()[:1] == b"{" and _PLAIN_MEMBER.fullmatch(member)  # (it need not be JSON)
            name = field_of(member.decode()) if named else None
            raise BadValue(f"is nested more than {MAX_DEPTH} deep", name)


def field_of(name: str) -> str:
    """A member's name as a field's: what can't be shown as it is is shown escaped, what is too long is cut off, and an
    empty one is ``""``."""
    shown = name[:_MAX_FIELD_CHARS]
    if not shown:
        return '""'
    return shown if shown.isprintable() else shown.encode("unicode_escape").decode()[:_MAX_FIELD_CHARS]


def _dotted(path: "_Path") -> str | None:
    """``data.items[3].price``."""
    names: list[str] = []
    while path is not None:
        path, name = path
        if isinstance(name, int):
            names.append(f"[{name}]")
        else:
            names.append(f".{field_of(name)}")
    return "".join(reversed(names)).removeprefix(".")[:_MAX_FIELD_CHARS] or None
