"""A default is stated for editors (schema.json) and in docs/policy.md, and the code has it: all three agree."""

import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.domain.policy import PolicyError, parse_policy, policy_schema
from app.domain.policy.difference import differences

SCHEMA = policy_schema()
PAGE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
#: One of everything that has defaults, with nothing that could be left out.
BARE: dict[str, Any] = {
    "defaults": {"dedup": {}, "quiet_hours": {"start": "22:00", "end": "08:00"}, "channels": {"sms": {}, "email": {}}},
    "categories": {"orders": {"channels": ["push", "email"]}, "other": {"channels": ["in_app"]}, "mute": {}},
    "caps": [{"name": "day", "limit": 5, "window": "24h"}],
    "digests": {"soon": {"window": "10m", "template": "t"}, "weekly": {"every": "week", "template": "t"}},
    "event_types": {
        "order.*": {"category": "orders", "fallback": {"chain": ["push", "email"], "wait": "2m"}},
        "like.*": {"category": "orders", "digest": {"window": "10m", "template": "t"}},
        "news.*": {"category": "orders", "digest": {"every": "week", "template": "t"}},
    },
    "failover": {"email": {}, "sms": {}},
    "in_doubt": {},
    "sms": {"max_segments": 2},
    "inbox": {},
}
#: Defaults that are what stands elsewhere, or depend on the priority.
ELSEWHERE = {
    "the category's own name",
    "its category's",
    "defaults.category",
    "defaults.expires_after",
    "critical 10s, high 60s, normal 5m, low none",
}
At = tuple[str | int, ...]


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in part:
        return part
    target: Any = SCHEMA
    for name in part["$ref"].removeprefix("#/").split("/"):
        target = target[name]
    return {**resolved(target), **part}


def stated(part: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, dict[str, Any]]]:
    """Each key with a default, as the schema states it. ``*`` is any name or place."""
    part = resolved(part)
    if path and "default" in part and not isinstance(part["default"], dict):
        yield path, str(part["default"]), part
    elif found := re.search(r"Default:? (.*?)(?:: at once)?\.?$", part.get("description", "")):
        yield path, found[1], part
    for each in (*part.get("oneOf", ()), *part.get("anyOf", ())):
        yield from stated({**each, "description": ""}, path)
    for name, inner in part.get("properties", {}).items():
        if isinstance(inner, dict):
            yield from stated(inner, (*path, name))
    for inner in (*part.get("patternProperties", {}).values(), part.get("additionalProperties"), part.get("items")):
        if isinstance(inner, dict):
            yield from stated(inner, (*path, "*"))


#: Without it nearly as many stay, but not exactly: the inbox then deletes the oldest a hundred at a time.
INEXACT = {("inbox", "items")}
STATED = [each for each in stated(SCHEMA) if each[1] not in ELSEWHERE and each[0] not in INEXACT]


def value_of(text: str, part: dict[str, Any]) -> Any:
    if part.get("type") == "array":
        days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        return {"none": [], "all": days}.get(text, text.split(", "))
    if part.get("type") == "object":
        return dict.fromkeys(("push", "email"), text == "true")
    return {"true": True, "false": False}.get(text, int(text) if text.isdigit() else text)


def places(node: Any, path: tuple[str, ...], at: At = ()) -> Iterator[At]:
    """Where the key would stand in the bare document."""
    name, *rest = path
    if not rest:
        if name not in node:
            yield (*at, name)
    elif name == "*":
        entries = node.items() if isinstance(node, dict) else enumerate(node)
        for key, inner in list(entries):
            yield from places(inner, tuple(rest), (*at, key))
    elif isinstance(node, dict) and name in node:
        yield from places(node[name], tuple(rest), (*at, name))


def written_out(at: At, value: Any) -> dict[str, Any]:
    document = deepcopy(BARE)
    node: Any = document
    for name in at[:-1]:
        node = node[name]
    node[at[-1]] = value
    return document


def compiled(document: dict[str, Any]) -> Any:
    return parse_policy(msgspec.json.encode(document).decode())


def test_the_schema_states_defaults() -> None:
    assert len(STATED) > 35


@pytest.mark.parametrize(("path", "text", "part"), STATED, ids=[".".join(path) for path, _, _ in STATED])
def test_what_is_left_out_is_as_the_schema_states(path: tuple[str, ...], text: str, part: dict[str, Any]) -> None:
    left_out, tried = compiled(BARE), 0
    for at in places(BARE, path):
        try:
            policy = compiled(written_out(at, value_of(text, part)))
        except PolicyError:
            continue  # (``at`` doesn't go with ``window``)
        tried += 1
        assert differences(left_out, policy) == []
    assert tried


def on_the_page() -> dict[tuple[str, ...], str]:
    found: dict[tuple[str, ...], str] = {}
    headings = {"## The document": (), "**A category**": ("categories", "*"), "**An event type**": ("event_types", "*")}
    headings["**A digest**"] = ("digests", "*")
    section: tuple[str, ...] | None = None
    for line in PAGE.splitlines():
        if line.startswith(("## ", "**")):
            section = next((path for heading, path in headings.items() if line.startswith(heading)), None)
        elif section is not None and (row := re.match(r"\| `([\w.]+)` \| ([^|]*) \|", line)):
            found[(*section, *row[1].split("."))] = row[2].strip()
    return found


def test_the_page_states_the_same_defaults() -> None:
    page = on_the_page()
    compared = {path: text for path, text, _ in STATED if path in page}
    assert len(compared) > 12
    plain = {path: re.sub(r'[`"\[\]]', "", page[path]) for path in compared}
    assert {path: "true" if text == "on" else text for path, text in plain.items()} == compared
