"""Null in templates: it is empty, whatever is done with it. It is never shown as ``None``, and is no error.

Null stays null: its members, slices and calls are null, and so is what most filters make of it. It counts as an empty
text beside a text and as an empty list beside a list; arithmetic with it is null; no comparison of more or less holds
for it. A filter's argument that is null counts as not given.
"""

import re
from collections.abc import Callable, ItemsView, Iterable, KeysView, Mapping, ValuesView
from inspect import Parameter, signature
from typing import Any

from jinja2.runtime import Undefined

_DIRECTIVE = re.compile(r"%(?:\((?P<name>[^)]*)\))?[^a-zA-Z%]*[hlL]?[a-zA-Z%]")
_LISTS = (list, KeysView, ValuesView, ItemsView, range)
_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def filled(value: Any) -> Any:
    """The value as it is shown: with nothing in place of each null, in lists and objects too."""
    if isinstance(value, str | int | float):
        return value
    if value is None:
        return ""
    if isinstance(value, Undefined):
        return str(value)  # raises, and says what is undefined
    if isinstance(value, Mapping):
        return {filled(key): filled(member) for key, member in value.items()}
    if isinstance(value, tuple):
        return tuple([filled(entry) for entry in value])
    if isinstance(value, _LISTS):
        return [filled(entry) for entry in value]
    return value


def with_null(operator: str, left: Any, right: Any) -> Any:
    """An operator's result where one side is null, but for ``text % null``."""
    other = right if left is None else left
    return other if operator == "+" and isinstance(other, str | list) else None


def holds(comparison: Callable[[Any, Any], Any], operator: str, left: Any, right: Any) -> Any:
    """Whether a comparison holds; ``operator``: as Jinja2's compiler names it."""
    if (left is None or right is None) and operator not in ("eq", "ne"):
        if operator not in ("in", "notin"):
            return False
        if right is None or isinstance(right, str | int | float):
            return operator == "notin"
    return comparison(left, right)


def format_without(text: str, args: Any) -> tuple[str, Any]:
    """A format and its arguments without those that are null: their directives show nothing."""
    values = args if isinstance(args, tuple | Mapping) else (args,)
    given = values.values() if isinstance(values, Mapping) else values
    if all(value is not None for value in given):
        return text, args
    place = 0

    def directive(match: re.Match[str]) -> str:
        nonlocal place
        if match[0].endswith("%"):
            return match[0]
        if match["name"] is not None:
            return "" if isinstance(values, Mapping) and values.get(match["name"], "") is None else match[0]
        place += 1
        return "" if isinstance(values, tuple) and place <= len(values) and values[place - 1] is None else match[0]

    left = _DIRECTIVE.sub(directive, text)
    if isinstance(values, Mapping):
        return left, values
    return left, tuple([value for value in values if value is not None])


class Arguments:
    """How a filter takes its arguments, those after the value that it is applied to."""

    def __init__(self, function: Callable[..., Any], passed: int) -> None:
        """``passed``: how many come before the value."""
        parameters = list(signature(function).parameters.values())[passed + 1 :]
        self._variadic = any(parameter.kind in _VARIADIC for parameter in parameters)
        self._names = [parameter.name for parameter in parameters]
        self._required = {p.name for p in parameters if p.default is Parameter.empty and p.kind not in _VARIADIC}

    def without_null(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """The arguments by name, those left out that are null; None: one that is needed is null, or it isn't known
        which is which."""
        if self._variadic or len(args) > len(self._names):
            return None
        given = dict(zip(self._names, args, strict=False)) | kwargs
        known = {name: value for name, value in given.items() if value is not None}
        return known if self._required <= known.keys() or not self._required <= given.keys() else None

    @property
    def variadic(self) -> bool:
        return self._variadic


def nulls_first(key: Iterable[Any]) -> list[tuple[bool, Any]]:
    """A key for sorting of parts that may be null."""
    return [(part is not None, part) for part in key]
