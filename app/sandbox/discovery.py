"""Checks JSON against a Google discovery document, as strictly as Google's servers, in their words."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import googleapiclient.discovery_cache

_DURATION = re.compile(r"-?\d+(\.\d{1,9})?s")
_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_SNAKE = re.compile(r"_([a-z0-9])")

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is wrong; ``field`` is its dotted path, empty for the whole body."""

    field: str
    description: str


class Discovery:
    """The schemas of one API, from the document that google-api-python-client ships (``fcm.v1``)."""

    def __init__(self, name: str) -> None:
        folder = Path(googleapiclient.discovery_cache.__file__).parent / "documents"
        self._schemas: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())["schemas"]

    def violations(self, schema: str, value: Any) -> list[Violation]:
        return list(self._check({"$ref": schema}, value, ""))

    def _check(self, shape: dict[str, Any], value: Any, path: str) -> Iterator[Violation]:
        shape = self._schemas[shape["$ref"]] if "$ref" in shape else shape
        kind = shape.get("type", "any")
        if value is None or kind == "any":
            return
        wrong_type = not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")
        if wrong_type:
            yield _wrong_value(path, shape, value)
        elif kind == "object":
            yield from self._check_object(shape, value, path)
        elif kind == "array":
            for position, item in enumerate(value):
                yield from self._check(shape["items"], item, f"{path}[{position}]")
        elif not _fits(shape, value):
            yield _wrong_value(path, shape, value)

    def _check_object(self, shape: dict[str, Any], value: dict[str, Any], path: str) -> Iterator[Violation]:
        known, others = shape.get("properties", {}), shape.get("additionalProperties")
        for name, member in value.items():
            inner = known.get(camel(name), others)
            if inner is None:
                where = f" at '{path}'" if path else ""
                text = f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
                yield Violation(path, text)
            else:
                yield from self._check(inner, member, f"{path}.{name}" if path else name)


def camel(name: str) -> str:
    """Google takes ``collapse_key`` for ``collapseKey``."""
    return _SNAKE.sub(lambda match: match[1].upper(), name)


def camel_keys(value: Any, shape_is_free: frozenset[str] = frozenset()) -> Any:
    """The same document with camel-case names, but for what lies under free-form members (``data``, ``headers``)."""
    if isinstance(value, list):
        return [camel_keys(item, shape_is_free) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        camel(name): member if name in shape_is_free else camel_keys(member, shape_is_free)
        for name, member in value.items()
    }


def _fits(shape: dict[str, Any], value: Any) -> bool:
    if "enum" in shape:
        return value.upper() in shape["enum"]  # the official client sends "high", and Google takes it
    match shape.get("format"):
        case "google-duration":
            return _DURATION.fullmatch(value) is not None
        case "google-datetime":
            return _DATETIME.fullmatch(value) is not None
        case "int32":
            return bool(-(2**31) <= value < 2**31)
        case _:
            return True


def _wrong_value(path: str, shape: dict[str, Any], value: Any) -> Violation:
    wanted = shape.get("format") or ("enum" if "enum" in shape else shape["type"])
    return Violation(path, f"Invalid value at '{path}' ({wanted}), {json.dumps(value)[:100]}")
