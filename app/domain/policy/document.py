"""Reading a policy's text: YAML 1.2 (and so JSON) into plain values, with the line of each."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from app.domain.policy.problems import Path, PolicyError, Problem, dotted
from app.domain.policy.sizes import MAX_PROBLEMS, Measure, check_events, check_text
from app.domain.policy.sizes import check_values as check_sizes
from schemas.values import BadValue, check_value


@dataclass(frozen=True, slots=True)
class Document:
    """Plain values (dict, list, str, int, float, bool, None) and the line at which each path begins."""

    root: Any
    lines: Mapping[Path, int] = field(default_factory=dict)

    def problem(self, path: Path, message: str, remedy: str) -> Problem:
        """A problem at the nearest line that is known."""
        line = next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), None)
        return Problem(line, dotted(path), message, remedy)


class _Yaml12(yaml.CSafeLoader):
    """The core schema of YAML 1.2: ``on`` and ``no`` are strings, and so is ``22:00``. By libyaml: PyYAML's own parser
    takes seconds for a large policy, and minutes for a nasty one."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _form, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^(?:[-+]?[0-9]{1,15}|0o[0-7]{1,15}|0x[0-9a-fA-F]{1,15})$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
):
    _Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_form), _first)


class NotYaml(PolicyError):
    """A text that is neither YAML nor JSON."""


def read_document(text: str) -> Document:
    """Raises PolicyError for what names a key twice or is too large, NotYaml for what can't be read at all."""
    check_text(text)
    try:
        check_events(yaml.parse(text, _Yaml12))
        node = yaml.compose(text, _Yaml12)
    except yaml.MarkedYAMLError as error:
        return _read_json(text) or _refuse(error)
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise NotYaml([Problem(None, "", "is not YAML", "check it for odd characters")]) from error
    return _checked(_Plain().of(node))


def plain_document(root: Any) -> Document:
    """A document of plain values, as JSON's reader gives them. Raises PolicyError for what is too large."""
    check_sizes(root)
    return Document(root)


def _read_json(text: str) -> Document | None:
    """JSON that YAML's reader won't take (indented by tabs)."""
    try:
        root = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    return _checked(plain_document(root))


def _checked(document: Document) -> Document:
    """What can be said in JSON that everybody reads: the gateway shows the policy, and roles compare it."""
    try:
        check_value(document.root)
    except BadValue as bad:
        problem = Problem(None, bad.field or "", bad.reason, "write another value")
        raise PolicyError([problem]) from bad
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise PolicyError([Problem(None, twice, "is there twice", "keep one of them")])
    return values


def _refuse(error: yaml.MarkedYAMLError) -> Document:
    line = error.problem_mark.line + 1 if error.problem_mark else None
    problem = Problem(line, "", f"is not YAML: {error.problem or error}", "check the indentation and the quotes")
    raise NotYaml([problem]) from error


class _Plain:
    """Walks YAML's nodes once, gathering values, lines and keys that come twice."""

    def __init__(self) -> None:
        self._lines: dict[Path, int] = {}
        self._problems: list[Problem] = []
        self._measure = Measure()

    def of(self, node: yaml.Node | None) -> Document:
        root = {} if node is None else self._value(node, ())
        if self._problems:
            raise PolicyError(self._problems)
        return Document(root, self._lines)

    def _value(self, node: yaml.Node, path: Path) -> Any:
        scalar = node.value if isinstance(node, yaml.ScalarNode) else ""
        self._measure.value(path, node.start_mark.line + 1, scalar)
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(child, (*path, index)) for index, child in enumerate(node.value)]
        try:
            return _scalar(node.tag.removeprefix("tag:yaml.org,2002:"), node.value)
        except ValueError:
            self._add(node.start_mark.line + 1, path, f"is no value of {node.tag[:100]}", "leave out the tag")
            return None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, child in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._add(line, path, "has a key that isn't a string", "write a name")
                continue
            self._measure.key(path, line, key.value)
            if key.value in values:
                self._add(line, (*path, key.value), "is there twice", "keep one of them")
            self._lines[(*path, key.value)] = line
            values[key.value] = self._value(child, (*path, key.value))
        return values

    def _add(self, line: int, path: Path, message: str, remedy: str) -> None:
        """Raises PolicyError when there are as many problems as are reported at once."""
        self._problems.append(Problem(line, dotted(path), message, remedy))
        if len(self._problems) >= MAX_PROBLEMS:
            raise PolicyError(self._problems)


def _scalar(tag: str, text: str) -> Any:
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() == "true"
    if tag == "int":
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)
    return float(text) if tag == "float" else text
