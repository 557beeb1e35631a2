"""What a rendering may use up: work and memory counted in characters, so that no template can hang or grow."""

from collections.abc import ItemsView, Iterable, KeysView, Mapping, ValuesView
from typing import Any

from jinja2.runtime import Undefined

#: All that one rendering may do: characters written, entries walked, ten for each step.
WORK = 2_000_000
#: The largest value, counted as ``size`` does.
LARGEST = 256_000
STEP = 10
#: How deep lists may lie in lists (a map counts twice). Python's own limit differs from version to version.
DEEPEST = 200
_ENTRY = 2

#: Numbers may have so many bits, about 1,200 digits.
MOST_BITS = 4096

_CONTAINERS = (list, tuple, KeysView, ValuesView, ItemsView)
_SINGLE = (float, type(None), Undefined)


class OverLimit(Exception):
    """The template asks for more than a message can need; the text says what."""


class Unusable(OverLimit):
    """A filter, a test or an operator was given what it can't take; the text says which, and nothing of Python's."""


class Budget:
    """The work that is left to one rendering."""

    def __init__(self) -> None:
        self._left = WORK

    def spend(self, work: int) -> None:
        self._left -= work
        if self._left < 0:
            raise OverLimit("does too much work")


def size(value: Any) -> int:
    """Characters that the value would take if written out; whatever is in it twice counts twice. Raises OverLimit, for
    what isn't data too: a function or a loop would show where it lies in memory."""
    if isinstance(value, str):
        return bounded(len(value))
    if isinstance(value, int):
        return bounded_number(value).bit_length() // 3 + 1
    if value is None:
        return STEP
    total, depth = 0, 0
    level: list[Any] = [value]
    while level:
        depth += 1
        if depth > DEEPEST:
            raise OverLimit("nests lists too deeply")
        deeper: list[Any] = []
        for part in level:
            if isinstance(part, str | bytes | range):
                total += len(part)
            elif isinstance(part, int):
                total += bounded_number(part).bit_length() // 3 + 1
            elif isinstance(part, Mapping):
                total += _ENTRY * len(part)
                deeper += bounded_entries(part.items())
            elif isinstance(part, _CONTAINERS):
                total += _ENTRY * len(part)
                deeper += bounded_entries(part)
            elif isinstance(part, _SINGLE):
                total += STEP
            else:
                raise OverLimit("uses what isn't data")
            bounded(total)
        level = deeper
    return total


def bounded(characters: int) -> int:
    """The number itself; raises OverLimit where it is too many."""
    if characters > LARGEST:
        raise OverLimit("makes too large a value")
    return characters


def bounded_number(number: int) -> int:
    """The number itself; raises OverLimit where it is too large."""
    if number.bit_length() > MOST_BITS:
        raise OverLimit("makes too large a number")
    return number


def bounded_entries(entries: Iterable[Any]) -> list[Any]:
    """A list of the entries, none left unread; raises OverLimit for too many."""
    gathered = []
    for entry in entries:
        gathered.append(entry)
        if len(gathered) * _ENTRY > LARGEST:
            raise OverLimit("makes too long a list")
    return gathered
