"""How large a policy may be, looked at before anything that takes longer: so any text is judged in under a second.

What limits the work of a reader isn't the length of a text alone: an alias repeats what it names, and every level of
nesting is a level of its parsers. All counts are those of the document with its aliases followed.
"""

import re
from collections.abc import Iterable
from typing import Any

import yaml

from app.domain.policy.problems import Path, PolicyError, Problem, dotted

MAX_CHARACTERS = 256 * 1024
#: Levels of maps and lists; a policy needs six.
MAX_DEPTH = 20
#: Maps, lists and single values, together.
MAX_VALUES = 30_000
#: Characters of all keys and values.
MAX_TEXT = 1024 * 1024
MAX_KEY = 200
#: Event types that end in ``*``: each new event type is compared with the lengths of these.
MAX_PATTERNS = 1_000
#: Problems that are reported at once.
MAX_PROBLEMS = 100

#: libyaml compares each ``%TAG`` with all before it; no policy needs one.
_MAX_DIRECTIVES = 10
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)

_DEEP = f"is nested more than {MAX_DEPTH} deep"
_MANY = f"holds more than {MAX_VALUES} values"


def check_text(text: str) -> None:
    """Looks at a text before it is parsed. Raises PolicyError."""
    if len(text) > MAX_CHARACTERS:
        raise PolicyError([Problem(None, "", "is too large", f"keep it under {MAX_CHARACTERS} characters")])
    if len(_DIRECTIVE.findall(text)) > _MAX_DIRECTIVES:
        raise PolicyError([Problem(None, "", "begins with too many directives (%)", "leave them out")])


def check_events(events: Iterable[yaml.Event]) -> None:
    """Looks at the parser's events, which are few at any time, before a document is made of them. Raises PolicyError,
    and whatever the parser raises."""
    depth = values = 0
    for event in events:
        match event:
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                depth += 1
                values += 1
                if depth > MAX_DEPTH:
                    raise _refusal(event, _DEEP, "policies have about six levels")
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                depth -= 1
            case yaml.ScalarEvent() | yaml.AliasEvent():
                values += 1
        if values > 2 * MAX_VALUES:  # keys are events, too
            raise _refusal(event, _MANY, "make it smaller")


class Measure:
    """Counts what a reader makes of a document, and refuses it where it becomes too much."""

    def __init__(self) -> None:
        self._values = self._text = 0

    def value(self, path: Path, line: int | None, text: str = "") -> None:
        """Another value. Raises PolicyError."""
        self._values += 1
        if len(path) > MAX_DEPTH:
            raise PolicyError([Problem(line, dotted(path[:3]), _DEEP, "don't let an alias name itself")])
        if self._values > MAX_VALUES:
            raise PolicyError([Problem(line, dotted(path), _MANY, "make it smaller; an alias repeats what it names")])
        self._add(path, line, text)

    def key(self, path: Path, line: int | None, key: str) -> None:
        """Another key of the map at ``path``. Raises PolicyError."""
        if len(key) > MAX_KEY:
            where = (*path, f"{key[:20]}…")
            remedy = "names have at most 100"
            raise PolicyError([Problem(line, dotted(where), f"is a key of more than {MAX_KEY} characters", remedy)])
        self._add(path, line, key)

    def _add(self, path: Path, line: int | None, text: str) -> None:
        self._text += len(text)
        if self._text > MAX_TEXT:
            message = f"makes it more than {MAX_TEXT} characters with its aliases followed"
            raise PolicyError([Problem(line, dotted(path), message, "use fewer aliases")])


def check_values(root: Any) -> None:
    """Measures plain values. Raises PolicyError."""
    measure = Measure()
    left: list[tuple[Path, Any]] = [((), root)]
    while left:
        path, value = left.pop()
        measure.value(path, None, value if isinstance(value, str) else "")
        if isinstance(value, dict):
            for key, child in value.items():
                measure.key(path, None, key)
                left.append(((*path, key), child))
        elif isinstance(value, list):
            left.extend(((*path, index), child) for index, child in enumerate(value))


def _refusal(event: yaml.Event, message: str, remedy: str) -> PolicyError:
    line = event.start_mark.line + 1 if event.start_mark else None
    return PolicyError([Problem(line, "", message, remedy)])
