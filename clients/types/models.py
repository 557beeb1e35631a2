"""What the gateway's description (OpenAPI) says of bodies and answers, as any language's generator needs it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.api.description import describe
from app.api.server import RESOURCES

_REF = "#/components/schemas/"
_METHODS = ("get", "put", "post", "patch", "delete", "head")


@dataclass(frozen=True, slots=True)
class Field:
    """``default``: None where there is none, or null."""

    name: str
    schema: Mapping[str, Any]
    required: bool
    default: Any


@dataclass(frozen=True, slots=True)
class Model:
    """``is_closed``: what it doesn't know is refused."""

    name: str
    about: str
    fields: tuple[Field, ...]
    is_closed: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """``name``: one that programs can use. ``body`` and ``answer``: the models that JSON has, if it has one. ``takes``,
    ``gives``: media types."""

    name: str
    method: str
    path: str
    summary: str
    query: tuple[str, ...]
    body: str | None
    answer: str | None
    takes: tuple[str, ...]
    gives: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Models:
    """By what they are used for; one that both send and answer have is in both."""

    bodies: tuple[Model, ...]
    answers: tuple[Model, ...]
    operations: tuple[Operation, ...]


def document() -> dict[str, Any]:
    """The gateway's description, as it serves it."""
    return describe([route for resource in RESOURCES for route in resource.ROUTES], None)


def models_of(document: Mapping[str, Any]) -> Models:
    components = document["components"]["schemas"]
    names = _names(components)
    asked: list[str] = []
    given: list[str] = []
    operations = []
    for path, ways in document["paths"].items():
        for method in (each for each in _METHODS if each in ways):
            operation = ways[method]
            asks = operation.get("requestBody", {})
            gives = [each for status, each in operation["responses"].items() if status.startswith("2")]
            body = [name for each in _contents(asks) for name in _refs(each)]
            answer = [name for response in gives for each in _contents(response) for name in _refs(each)]
            asked += body
            given += answer
            query = tuple(each["name"] for each in operation.get("parameters", ()) if each["in"] == "query")
            operations.append(
                Operation(
                    operation["operationId"],
                    method.upper(),
                    path,
                    operation["summary"],
                    query,
                    names[body[0]] if body else None,
                    names[answer[0]] if answer else None,
                    tuple(asks.get("content", ())),
                    tuple(media for response in gives for media in response.get("content", ())),
                )
            )
    return Models(
        tuple(_model(name, components, names) for name in _closure(asked, components)),
        tuple(_model(name, components, names) for name in _closure(given, components)),
        tuple(operations),
    )


def name_of(ref: str) -> str:
    """The component's name within the document."""
    return ref.removeprefix(_REF)


def named(schema: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    """The schema with its references by their names in the clients."""
    match schema:
        case {"$ref": str(ref)}:
            return {"$ref": names[name_of(ref)]}
        case dict():
            return {key: named(value, names) for key, value in schema.items()}
        case list():
            return [named(value, names) for value in schema]
        case _:
            return schema


def _names(components: Mapping[str, Any]) -> dict[str, str]:
    """``app.api.hooks.ReplayAsked`` is ``HooksReplayAsked``: where two have a name, their modules tell them apart."""
    return {name: "".join(_capital(part) for part in name.split(".")[-2:]) for name in components}


def _capital(part: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"\W|_", part))


def _contents(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for content in part.get("content", {}).values():
        yield content["schema"]


def _refs(schema: Any) -> Iterator[str]:
    match schema:
        case {"$ref": str(ref)}:
            yield name_of(ref)
        case dict():
            for each in schema.values():
                yield from _refs(each)
        case list():
            for each in schema:
                yield from _refs(each)


def _closure(names: list[str], components: Mapping[str, Any]) -> list[str]:
    """Those that are named and what these are made of, parts before wholes."""
    found: dict[str, None] = {}

    def find(name: str) -> None:
        for part in _refs(components[name]):
            find(part)
        found.setdefault(name)

    for name in sorted(names):
        find(name)
    return list(found)


def _model(name: str, components: Mapping[str, Any], names: Mapping[str, str]) -> Model:
    schema = components[name]
    required = schema.get("required", ())
    fields = tuple(
        Field(each, named(its, names), each in required, its.get("default"))
        for each, its in schema.get("properties", {}).items()
    )
    about = " ".join(schema.get("description", "").split())
    return Model(names[name], about, fields, schema.get("additionalProperties") is False)
