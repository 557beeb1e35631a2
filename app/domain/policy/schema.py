"""The shape of a policy, as the JSON Schema that editors use and that every policy is checked against."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from itertools import islice
from typing import Any, cast

import msgspec
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from app.domain.policy.document import Document
from app.domain.policy.guesses import Guesses
from app.domain.policy.problems import Path, Problem
from app.domain.policy.sizes import MAX_PROBLEMS

_KINDS = {
    "object": "keys and values",
    "array": "a list",
    "string": "a text, in quotes",
    "boolean": "true or false",
    "integer": "a whole number",
}
_BOUNDS = {
    "minimum": "write at least",
    "maximum": "write at most",
    "minItems": "the least number of entries is",
    "minLength": "the least number of characters is",
    "maxLength": "the most characters are",
}
#: What is shown of a wrong value.
_SHOWN = 80


def policy_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a policy document."""
    schema: dict[str, Any] = json.loads(_text())
    return schema


def _text() -> str:
    return files(__package__).joinpath("schema.json").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _validator() -> Validator:
    # JSON Schema's $ is the end; Python's lets a newline follow.
    checked: type[Validator] = extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {"uniqueItems": _unique_items}
    )
    return checked(json.loads(_text().replace('$"', r'\\Z"')))


def _unique_items(_: Any, unique: bool, items: Any, __: Any) -> Iterator[ValidationError]:
    """As the library's own, which compares each with each where items aren't all of one type."""
    if unique and isinstance(items, list) and len({msgspec.json.encode(item) for item in items}) < len(items):
        yield ValidationError("names one twice")


def too_many(document: Document) -> list[Problem]:
    """The sections that have more entries than any policy may."""
    found = []
    for name, part in _sections().items():
        entries, limit = document.root.get(name), part.get("maxProperties", part.get("maxItems"))
        if limit is not None and isinstance(entries, dict | list) and len(entries) > limit:
            found.append(document.problem((name,), f"has {len(entries)} entries", f"write at most {limit}"))
    return found


@lru_cache(maxsize=1)
def _sections() -> Mapping[str, Mapping[str, Any]]:
    return cast(Mapping[str, Mapping[str, Any]], policy_schema()["properties"])


def misshapen(document: Document) -> list[tuple[Path, Problem]]:
    """In what the document differs from the schema, and where; no more than are reported at once."""
    errors = (cause for error in _validator().iter_errors(document.root) for cause in _causes(error))
    found = (each for error in errors for each in _problems(document, error))
    return list(islice(found, MAX_PROBLEMS))


def _causes(error: ValidationError) -> Iterator[ValidationError]:
    """Of alternatives, what is wrong with the one that was meant: that which takes a value of this type."""
    causes = list(error.context or ())
    branches = dict.fromkeys(cause.relative_schema_path[0] for cause in causes)
    others = {
        cause.relative_schema_path[0]
        for cause in causes
        if not cause.relative_path and cause.validator in ("type", "enum")
    }
    meant = [branch for branch in branches if branch not in others]
    if not others or not meant:
        yield error
        return
    for cause in causes:
        if cause.relative_schema_path[0] == meant[0]:
            yield from _causes(cause)


def _problems(document: Document, error: ValidationError) -> Iterator[tuple[Path, Problem]]:
    path = tuple(error.absolute_path)
    match error.validator:
        case "additionalProperties":
            for key in _unknown_keys(error):
                yield (*path, key), document.problem((*path, key), *_words_of_key(error, key))
        case "propertyNames":
            named = (*path, str(error.instance))
            yield named, document.problem(named, "is a reserved name", "choose another name")
        case _:
            yield path, document.problem(path, *_words(error))


def _unknown_keys(error: ValidationError) -> list[str]:
    patterns = _part(error).get("patternProperties", {})
    known = _part(error).get("properties", {})
    return [key for key in _value(error) if key not in known and not any(re.search(p, key) for p in patterns)]


def _part(error: ValidationError) -> Mapping[str, Any]:
    """The part of the schema that the value doesn't meet."""
    return cast(Mapping[str, Any], error.schema)


def _value(error: ValidationError) -> Any:
    return error.instance


def _words_of_key(error: ValidationError, key: str) -> tuple[str, str]:
    known = sorted(_part(error).get("properties", {}))
    if not known:
        pattern = any(r"\*" in form for form in _part(error).get("patternProperties", {}))
        remedy = "use letters, digits, dots, dashes and underscores, at most 100"
        return "is not a name", f"{remedy}, and * only at the end" if pattern else remedy
    if key == "<<":
        return "is a merge key, which YAML 1.2 doesn't have", "write its entries out"
    close = Guesses().closest(key, known)
    return "is not known here", f"did you mean {close}?" if close else f"known are {', '.join(known)}"


def _words(error: ValidationError) -> tuple[str, str]:
    """What is wrong and how to mend it, without the schema's own language."""
    schema, value = _part(error), _part(error)[str(error.validator)]
    if error.validator == "required":
        missing = ", ".join(name for name in value if name not in _value(error))
        return f"lacks {missing}", f"add {missing}"
    if error.validator == "anyOf" and all("required" in branch for branch in value):
        names = " or ".join(branch["required"][0] for branch in value)
        return f"lacks {names}", f"add {names}"
    if error.validator == "dependentRequired":
        missing, given = re.findall("'([^']*)'", error.message)
        return f"has {given} and lacks {missing}", "give both or neither"
    if error.validator == "uniqueItems":
        return "names one twice", "keep one of them"
    if error.validator in ("maxItems", "maxProperties"):
        return f"has {len(_value(error))} entries", f"write at most {value}"
    wrong = f"is {json.dumps(_value(error), ensure_ascii=False)[:_SHOWN]}"
    if "examples" in schema:
        *others, last = schema["examples"] if error.validator == "anyOf" else schema["examples"][:1]
        such = f"{', '.join(others)} or {last}" if others else last
        return wrong, f"write {schema['description']}, such as {such}"
    if error.validator == "enum":
        close = Guesses().closest(str(_value(error)), list(map(str, value)))
        guess = f"did you mean {close}? else " if close else ""
        return wrong, f"{guess}choose one of {', '.join(map(str, value))}"
    if error.validator == "type":
        return wrong, f"write {_KINDS.get(str(value), str(value))}"
    return wrong, f"{_BOUNDS.get(str(error.validator), f'its {error.validator} is')} {value}"
