"""Schema and compiler agree: whatever the schema takes is compiled or refused for what it means, and no more."""

import re
from functools import cache
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, given, settings
from jsonschema import Draft202012Validator

from app.domain.policy import PolicyError, Problem, differences, parse_policy, policy_schema
from app.domain.policy.document import Document
from app.domain.policy.schema import misshapen

SCHEMA = policy_schema()
VALIDATOR = Draft202012Validator(SCHEMA)

#: A policy shrinks too slowly to wait for.
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)

#: What a well-shaped policy can be refused for.
MEANING = (
    "which isn't there",
    "is 0",
    "is too long",
    "which is too long",
    "not an IANA time zone",
    "equals start",
    "more than max_items",
    "is there twice",
    "isn't in the order",
    "is in no channel's order",
    "cap below its base",
    "has the name of the digest",
    "is for every: week",
    "which isn't a date",
    "is combined with opt_out: never",
)


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """Policies that fit the schema."""
    return value_of(draw, SCHEMA)


def value_of(draw: st.DrawFn, schema: dict[str, Any]) -> Any:
    """A value that fits a part of the schema, of the kinds that this schema has."""
    if "$ref" in schema:
        return value_of(draw, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    if "anyOf" in schema and "properties" not in schema:
        return value_of(draw, draw(st.sampled_from(schema["anyOf"])))
    match schema["type"]:
        case "object":
            return object_of(draw, schema)
        case "array":
            count = draw(st.integers(schema.get("minItems", 0), 3))
            values = [value_of(draw, schema["items"]) for _ in range(count)]
            return list({repr(value): value for value in values}.values())
        case "integer":
            return draw(st.integers(schema["minimum"], schema["maximum"]))
        case "boolean":
            return draw(st.booleans())
        case _:
            return draw(text_of(schema.get("pattern"), schema.get("maxLength", 100)))


@cache
def text_of(pattern: str | None, longest: int) -> st.SearchStrategy[str]:
    few = [text for text in ("a", "b", "other", "UTC") if pattern is None or re.search(pattern, text)]
    if pattern is None:
        return st.sampled_from(few)
    made = st.from_regex(pattern.replace("$", r"\Z"), alphabet=st.characters(codec="ascii"))
    made = made.filter(lambda text: len(text) <= longest)
    return st.sampled_from(few) | made if few else made


def object_of(draw: st.DrawFn, schema: dict[str, Any]) -> dict[str, Any]:
    required = set(schema.get("required", ()))
    if "anyOf" in schema:
        required |= set(draw(st.sampled_from(schema["anyOf"]))["required"])
    found = {}
    for part in (*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")):
        if isinstance(part, dict):
            for name in draw(st.sets(st.sampled_from(["a", "b", "other"]))):
                found[name] = value_of(draw, part)
    for name, part in schema.get("properties", {}).items():
        if name in required or draw(st.integers(0, 2)) == 0:
            found[name] = value_of(draw, part)
    for name, needed in schema.get("dependentRequired", {}).items():
        if name in found:
            found |= {other: value_of(draw, schema["properties"][other]) for other in needed if other not in found}
    return found


@settings(max_examples=60, deadline=None, phases=UNSHRUNK)
@given(documents())
def test_what_fits_the_schema_is_compiled_or_refused_for_what_it_means(document: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid(document)
    problems: list[Problem] = []
    try:
        policy = parse_policy(document)
    except PolicyError as refused:
        problems = refused.problems
    else:
        assert differences(policy, parse_policy(document)) == []
    assert [p for p in problems if not any(words in p.message for words in MEANING)] == []


@settings(max_examples=40, deadline=None, phases=UNSHRUNK)
@given(documents(), st.data())
def test_what_does_not_fit_the_schema_is_never_compiled(document: dict[str, Any], data: st.DataObject) -> None:
    broken = damaged(document, data)
    if not VALIDATOR.is_valid(broken):
        assert misshapen(Document(broken))
        with pytest.raises(PolicyError):
            parse_policy(broken)


def damaged(value: Any, data: st.DataObject) -> Any:
    """The document with one value somewhere in it replaced by another, or a key added."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(value)))
        return {**value, key: damaged(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        return [damaged(value[0], data), *value[1:]]
    if isinstance(value, dict) and data.draw(st.booleans()):
        return {**value, "nobody knows": 1}
    return data.draw(st.sampled_from([None, "?", -1, 1.5, True, [], {}, [None], {"?": 1}]))


def test_every_object_of_the_schema_says_what_it_takes() -> None:
    open_ones = [
        path for path, part in parts(SCHEMA) if part.get("type") == "object" and "additionalProperties" not in part
    ]
    assert open_ones == []


def test_every_key_is_described_for_editors() -> None:
    bare = [
        f"{path}.{name}"
        for path, part in parts(SCHEMA)
        for name, value in part.get("properties", {}).items()
        if isinstance(value, dict)
        and "description" not in value
        and "$ref" not in value
        and "enum" not in value
        and value.get("type") not in ("object", "boolean", "integer")
    ]
    assert bare == []


def parts(schema: Any, path: str = "$") -> Any:
    if isinstance(schema, dict):
        yield path, schema
        for key, value in schema.items():
            yield from parts(value, f"{path}.{key}")
    if isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from parts(value, f"{path}[{index}]")
