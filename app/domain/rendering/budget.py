"""What a rendering may use up: work and memory counted in characters, so that no template can hang or grow."""

from collections.abc import Callable, ItemsView, Iterable, KeysView, Mapping, ValuesView
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

#: Integers may have so many bits: those of data have 64, and may be multiplied.
MOST_BITS = 128
#: Seconds of computing that a rendering may take. The work is what bounds it; this ends what is slow in a way that
#: nobody has thought of. It is looked at now and then: between two looks lies so much work.
LONGEST_S = 1.0
_LOOK_AFTER = WORK // 100

_CONTAINERS = (list, tuple, KeysView, ValuesView, ItemsView)
_SINGLE = (float, type(None), Undefined)


class OverLimit(Exception):
    """The template asks for more than a message can need; the text says what."""


class Unusable(OverLimit):
    """A filter, a test or an operator was given what it can't take; the text says which, and nothing of Python's."""


class Stopwatch:
    """How long a rendering of several texts may take. ``seconds``: those of computing, not of the wall's clock: a
    machine that stands still is no fault of the template's. None: there is no limit but that of the work."""

    def __init__(self, seconds: Callable[[], float] | None = None) -> None:
        self._seconds = seconds
        self._until = 0.0 if seconds is None else seconds() + LONGEST_S

    def look(self) -> None:
        """Raises OverLimit when the time is over."""
        if self._seconds is not None and self._seconds() > self._until:
            raise OverLimit("takes too long")


class Budget:
    """The work that is left to one text."""

    def __init__(self, stopwatch: Stopwatch | None = None) -> None:
        self._left = WORK
        self._stopwatch = stopwatch or Stopwatch()
        self._look_at = WORK - _LOOK_AFTER

    def spend(self, work: int) -> None:
        self._left -= work
        if self._left < self._look_at:
            self._look_at = self._left - _LOOK_AFTER
            self._stopwatch.look()
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
                raise OverLimit("uses something that isn't data")
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
