"""What the published schema says of a record that could not be taken, and of the field that is wrong."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from schemas.published import RECORDS, schema_of
from schemas.topics import COMMANDS, EVENT_TOPICS, RECEIPTS

_STEP = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_STEPS = 8
_HIDDEN = frozenset(("discriminator", "description", "title"))


@dataclass(frozen=True, slots=True)
class Help:
    """``name``: of the schema; ``required``: its fields that must be there; ``rules``: of the field, as JSON Schema;
    ``example``: a record that can be taken."""

    name: str
    title: str
    required: tuple[str, ...]
    rules: str | None
    example: str


def help_with(topic: str, field: str | None, value: str | None) -> Help | None:
    """None: services don't write to the topic. ``value``: the record, which may be anything."""
    record = _object(value)
    name = _name(topic, record)
    if name is None:
        return None
    schema = _schema(name)
    kind, example = _kind(schema, record), _example(name, record)
    rules = None if field is None else _of_field(schema, kind, field)
    shown = None if rules is None else json.dumps(_without(rules), indent=2, ensure_ascii=False)
    return Help(name, schema["title"], tuple(kind.get("required", ())), shown, json.dumps(example, indent=2))


@cache
def _schema(name: str) -> dict[str, Any]:
    return schema_of(RECORDS[name])


def _object(value: str | None) -> Mapping[str, Any]:
    try:
        found = json.loads(value or "")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _name(topic: str, record: Mapping[str, Any]) -> str | None:
    if topic in EVENT_TOPICS:
        return "cloudevent" if "specversion" in record else "request"
    return {COMMANDS: "command", RECEIPTS: "receipt"}.get(topic)


def _kind(schema: Mapping[str, Any], record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record's own kind, where there are several; nothing where it names none of them."""
    discriminator = schema.get("discriminator")
    if discriminator is None:
        return _resolved(schema, schema)
    named = record.get(discriminator["propertyName"])
    reference = discriminator["mapping"].get(named) if isinstance(named, str) else None
    return _resolved(schema, {"$ref": reference}) if reference else {}


def _example(name: str, record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the record's own kind, if there is one."""
    examples = RECORDS[name].examples
    return next((each for each in examples if each.get("type") == record.get("type")), examples[0])


def _of_field(schema: Mapping[str, Any], kind: Mapping[str, Any], field: str) -> Mapping[str, Any] | None:
    """``field``: as in ``content.title`` or ``channels[0]``."""
    found = kind
    for step in _STEP.findall(field)[:_MOST_STEPS]:
        inner = found.get("properties", {}).get(step)
        if inner is None:
            return None
        found = _resolved(schema, inner)
    return None if found is kind else found


def _resolved(schema: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without references, and without the null that any field that may be left out may be."""
    for _ in range(_MOST_STEPS):
        others = [each for each in part.get("anyOf", ()) if each.get("type") != "null"]
        if "$ref" in part:
            part = schema["$defs"].get(part["$ref"].rpartition("/")[2], {})
        elif len(others) == 1:
            part = others[0]
        else:
            break
    return part


def _without(rules: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in rules.items() if name not in _HIDDEN}
