"""The table of limits in docs/records.md, made of the schemas. Printed by ``python -m tests.unit.schemas.limits``."""

from collections.abc import Iterator
from typing import Any, get_args

from msgspec import inspect

from app.domain.bounds import DEFAULT_BOUNDS
from app.domain.preferences.document import MAX_ENTRIES
from schemas import commands, receipts, requests, values
from schemas.links import MAX_LINK_CHARS
from tables import preferences, profiles

_KIB = 1024


def table() -> str:
    """The whole of it, in Markdown."""
    rows = [*_sizes(), *_of(requests.Request, "request"), *_commands(), *_of(receipts.Receipt, "receipt")]
    return "\n".join(
        ["| where | what | at most |", "| --- | --- | --- |", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    )


def _sizes() -> Iterator[tuple[str, str, str]]:
    """What no type says."""
    yield "request", "key, value and headers together", _kib(requests.MAX_RECORD_BYTES)
    yield "request", "`data`, as compact JSON", _kib(requests.MAX_DATA_BYTES)
    yield "request", "`content`, as compact JSON", _kib(requests.MAX_CONTENT_BYTES)
    yield "command", "value", _kib(commands.MAX_COMMAND_BYTES)
    yield "receipt", "value", _kib(receipts.MAX_RECEIPT_BYTES)
    yield "preferences", "the document, as compact JSON, after a merge too", _kib(preferences.MAX_DOCUMENT_BYTES)
    yield "preferences", "each of `channels`, `categories`, `event_types`, `digest`", f"{MAX_ENTRIES} entries"
    yield "profile", "`attributes`, as compact JSON, after a merge too", _kib(profiles.MAX_ATTRIBUTES_BYTES)
    yield "user", "devices (`users.devices`)", str(DEFAULT_BOUNDS.devices)
    yield "user", "consents", str(preferences.MAX_CONSENTS)
    yield "user", "evidence of all consents", _kib(preferences.MAX_ALL_EVIDENCE_BYTES)
    yield "`consent.set`", "`evidence`, as compact JSON", _kib(commands.MAX_EVIDENCE_BYTES)
    yield "`device.add`", "`token` of `ios`", "64 to 200 hex digits"
    yield "`device.add`", "any other `token`; `subscription`, as compact JSON", _kib(commands.MAX_TOKEN_BYTES)
    yield "links", "`url`, `image`, buttons of `inbox`", f"{MAX_LINK_CHARS:,} characters"
    yield "any record", "nesting", f"{values.MAX_DEPTH} deep"
    yield "any number", "integer", "from −2⁶³ to 2⁶⁴−1"
    yield "any time", "from 1970-01-01T00:00:00Z", "2200-01-01T00:00:00Z"


def _commands() -> Iterator[tuple[str, str, str]]:
    seen = set()
    for kind in get_args(commands.AnyCommand):
        for _, field, limit in _of(kind, "command"):
            if (field, limit) not in seen:
                seen.add((field, limit))
                yield "command", field, limit


def _of(kind: Any, record: str) -> Iterator[tuple[str, str, str]]:
    for field, limit in _limits(inspect.type_info(kind), ""):
        yield record, f"`{field}`", limit


def _limits(info: Any, path: str) -> Iterator[tuple[str, str]]:
    match info:
        case inspect.UnionType(types=types):
            for each in types:
                yield from _limits(each, path)
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from _limits(field.type, f"{path}.{field.encode_name}" if path else field.encode_name)
        case inspect.StrType(max_length=int(most)):
            yield path, f"{most:,} characters"
        case inspect.ListType(max_length=int(most), item_type=item):
            yield path, f"{most} entries"
            yield from _limits(item, f"{path}[]")


def unbounded(kind: Any) -> list[str]:
    """The strings and lists of a record that have no limit of their own."""
    return list(_unbounded(inspect.type_info(kind), ""))


def _unbounded(info: Any, path: str) -> Iterator[str]:
    match info:
        case inspect.UnionType(types=types):
            for each in types:
                yield from _unbounded(each, path)
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from _unbounded(field.type, f"{path}.{field.encode_name}" if path else field.encode_name)
        case inspect.StrType(max_length=None) | inspect.ListType(max_length=None):
            yield path


def _kib(size: int) -> str:
    assert size % _KIB == 0
    return f"{size // _KIB} KiB"


if __name__ == "__main__":
    print(table())
