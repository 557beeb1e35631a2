"""Values that a query is asked with: ``{name:Type}`` in its text, bound by ClickHouse, so that no value becomes SQL.

A value is bound before the query is judged, so its tree has it as the literal that it is. Types that stand for a name
(``Identifier``) or hold what can't be judged (states of aggregates) are refused.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlencode

from app.store.reading import MAX_SQL_BYTES, QueryRefused, as_parameter

#: What a value's name begins with in an HTTP query.
PREFIX = "param_"
MOST = 100
#: As they are sent in a URL, of which HTTP servers take 8 KiB.
MAX_SENT_BYTES = 6_000

#: Of a parameter, as a pattern.
NAME = r"[A-Za-z_][A-Za-z0-9_]{0,99}"
_NAME = re.compile(NAME)
_TYPES = frozenset(
    (
        *("Array", "Bool", "Date", "Date32", "DateTime", "DateTime64", "FixedString", "Float32", "Float64", "IPv4"),
        *("IPv6", "LowCardinality", "Map", "Nullable", "String", "Tuple", "UUID"),
        *(f"Decimal{bits}" for bits in ("", 32, 64, 128, 256)),
        *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64, 128, 256)),
    )
)
_COMPOSITE = ("Array", "Map", "Tuple")
#: Text in quotes, a parameter, or a brace that belongs to neither.
_PART = re.compile(
    r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\""
    rf"|\{{(?P<name>{NAME}):(?P<type>(?:[A-Za-z0-9(), ]|'[A-Za-z0-9_+/-]*')+)\}}"
    r"|(?P<brace>[{}])",
    re.DOTALL,
)
_WORD = re.compile(r"'[^']*'|([A-Za-z][A-Za-z0-9]*)")


def check_places(formatted: str) -> None:
    """Raises QueryRefused for a parameter whose type isn't one of plain values.

    ``formatted``: the statement in ClickHouse's own spelling.
    """
    for part in _PART.finditer(formatted):
        if part["brace"]:
            raise QueryRefused("a parameter is written {name:Type}, with a type of plain values such as String")
        for word in _WORD.findall(part["type"] or ""):
            if word and word not in _TYPES:
                raise QueryRefused(f"{{{part['name']}:{word}}} is not allowed: there are {', '.join(sorted(_TYPES))}")


def values_in(params: Mapping[str, str]) -> dict[str, str]:
    """The values among the parameters of an HTTP query, by name, as ClickHouse reads them. Raises QueryRefused."""
    found = {name.removeprefix(PREFIX): value for name, value in params.items() if name.startswith(PREFIX)}
    check_values(found)
    return found


def check_values(values: Mapping[str, str]) -> None:
    """Raises QueryRefused for names that no parameter has, too many, or too long ones."""
    if len(values) > MOST:
        raise QueryRefused(f"there are more than {MOST} parameters")
    size = 0
    for name, value in values.items():
        if not _NAME.fullmatch(name):
            raise QueryRefused(f"{PREFIX}{name[:100]!a}: a parameter's name has letters, digits and _, at most 100")
        try:
            size += len(name) + len(value.encode())
        except UnicodeEncodeError:
            raise QueryRefused(f"{PREFIX}{name}: holds a lone surrogate") from None
        if "\0" in value:
            raise QueryRefused(f"{PREFIX}{name}: holds a NUL character")
    if size > MAX_SQL_BYTES:
        raise QueryRefused(f"the parameters are longer than {MAX_SQL_BYTES // 1024} KiB")


def to_send(sql: str, values: Mapping[str, str]) -> dict[str, str]:
    """Values as people write them, as parameters of the HTTP query. Raises QueryRefused.

    Those of an array, a map or a tuple are written as ClickHouse has them: ``['a', 'b']``.
    """
    check_values(values)
    sent = {
        f"{PREFIX}{name}": value if _is_composite(sql, name) else as_parameter(value) for name, value in values.items()
    }
    if len(urlencode(sent)) > MAX_SENT_BYTES:
        raise QueryRefused(f"the parameters take more than {MAX_SENT_BYTES} bytes in a URL: ask with shorter ones")
    return sent


def _is_composite(sql: str, name: str) -> bool:
    return re.search(rf"\{{\s*{name}\s*:\s*(?:{'|'.join(_COMPOSITE)})\b", sql) is not None
