"""The API's description (OpenAPI 3.1), made of the routes that are served and the structs that they read and write."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from app.api.callers import Access
from app.api.commands import GIVEN
from app.api.routes import Route
from schemas.commands import Command

#: Of the API, not of the program.
_VERSION = "1.0.0"
_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_PHRASES = {
    101: "A WebSocket from here on",
    200: "OK",
    201: "Made",
    202: "Accepted",
    204: "Done",
    302: "Found",
}
#: The errors that any operation with such access may answer with.
_PROBLEMS = {
    "400": "The request is malformed",
    "401": "Missing or bad credentials",
    "403": "Not yours",
    "404": "Unknown",
    "408": "The body stopped arriving",
    "409": "It exists already",
    "413": "Too large",
    "415": "A content coding that can't be read",
    "422": "Refused by a rule",
    "429": "Too much at once",
    "503": "Temporarily unavailable; try again after Retry-After seconds",
}

_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "field": {"type": "string", "description": "The field at fault"},
    },
}


def describe(routes: Iterable[Route], server: str | None) -> dict[str, Any]:
    """The whole document."""
    routes = list(routes)
    types = _types(routes)
    schemas = dict(zip(types, msgspec.json.schema_components(types, ref_template=_REF)[0], strict=True))
    _, components = msgspec.json.schema_components(types, ref_template=_REF)
    for kind in types:
        if isinstance(kind, type) and issubclass(kind, Command):
            _without_given(components[kind.__name__])
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tocsin", "version": _VERSION, "summary": "Tell users what they want to know, once"},
        **({"servers": [{"url": server}]} if server else {}),
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM_SCHEMA},
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "description": "A service's API key: id.secret"},
                "userToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
            },
            "responses": {"Problem": _problem_response(), "ProblemPage": _problem_response("text/html")},
        },
    }


def _types(routes: Iterable[Route]) -> list[Any]:
    found = [kind for route in routes for kind in (route.body, *route.answers.values()) if kind is not None]
    return list({repr(kind): kind for kind in found}.values())


def _without_given(schema: dict[str, Any]) -> None:
    """A body lacks what the gateway says of a command itself."""
    schema["properties"] = {name: part for name, part in schema["properties"].items() if name not in GIVEN}
    schema["required"] = [name for name in schema.get("required", ()) if name not in GIVEN]


def _operation(route: Route, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    parameters = [_parameter("path", name, None) for name in _PARAMETER.findall(route.path)]
    parameters += [_parameter("query", name, meaning) for name, meaning in route.query.items()]
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": _operation_id(route),
        "tags": [route.path.strip("/").split("/")[1] if route.path.startswith("/v1/") else "description"],
        "security": _security(route.access),
        "responses": {str(status): _response(route, status, schemas) for status in route.answers}
        | dict.fromkeys(_PROBLEMS, _problem_of(route)),
    }
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        content = {media: {"schema": schemas[route.body]} for media in route.takes}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _problem_of(route: Route) -> dict[str, str]:
    """Of routes that people open, some problems are pages."""
    name = "ProblemPage" if "text/html" in route.gives else "Problem"
    return {"$ref": f"#/components/responses/{name}"}


def _problem_response(*others: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name="Problem")}
    return {
        "description": "; ".join(f"{status}: {meaning.lower()}" for status, meaning in _PROBLEMS.items()),
        "content": {
            "application/problem+json": {"schema": schema},
            **{media: {"schema": {"type": "string"}} for media in others},
        },
    }


def _response(route: Route, status: int, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    kind = route.answers[status]
    response: dict[str, Any] = {"description": _PHRASES[status]}
    if kind is not None:
        response["content"] = {media: {"schema": schemas[kind]} for media in route.gives}
    return response


def _parameter(where: str, name: str, meaning: str | None) -> dict[str, Any]:
    parameter: dict[str, Any] = {"name": name, "in": where, "schema": {"type": "string"}}
    if where == "path":
        parameter["required"] = True
    if meaning is not None:
        parameter["description"] = meaning
    return parameter


def _operation_id(route: Route) -> str:
    words = re.findall(r"\w+", route.path.removeprefix("/v1"))
    return route.method.lower() + "".join(word.replace("_", " ").title().replace(" ", "") for word in words)


def _security(access: Access) -> list[dict[str, list[str]]]:
    key: dict[str, list[str]] = {"apiKey": list(access.scopes)}
    token: dict[str, list[str]] = {"userToken": []}
    ticket: dict[str, list[str]] = {"ticket": []}
    ways = ((key, access.scopes), (token, access.own), (ticket, access.ticket))
    return [way for way, open_to in ways if open_to]
