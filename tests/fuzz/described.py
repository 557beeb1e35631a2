"""The gateway as its OpenAPI document describes it: schemathesis makes calls of each operation, good ones and bad ones,
by keys of each scope, users and nobody; every answer has to be one that the document has."""

import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import requests
import schemathesis
from hypothesis import reject
from hypothesis import strategies as st
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode

from app.api.description import describe
from app.api.server import RESOURCES
from tests.fuzz import gateway
from tests.fuzz.gateway import Answered, Asked, Asking
from tests.fuzz.machines import Broken

#: What a request line and its headers may have together; longer ones are refused before any route.
_LONGEST_TARGET = 7_000
_TRANSPORT = ("method", "url", "headers", "cookies", "params", "data", "json", "files")
#: Said by the caller, or by the connection.
_OURS = ("authorization", "host", "connection", "content-length", "transfer-encoding")
#: Parameters of paths whose values there are.
_NAMED = ("device_id", "hash", "letter_id", "notification_id", "mark", "name", "number", "provider", "token")


@cache
def operations() -> dict[str, Any]:
    """Each operation of the document, by method and path."""
    routes = [route for resource in RESOURCES for route in resource.ROUTES]
    schema = schemathesis.openapi.from_dict(describe(routes, None))
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    return {f"{each.method.upper()} {each.path}": each for each in found}


def calls(name: str) -> st.SearchStrategy[Asking]:
    """Calls of an operation, as the document says and not; half of them by somebody to whom it is open, half of them
    of what there is."""
    operation = operations()[name]
    made = [operation.as_strategy(mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]
    rightful = _rightful(operation)
    values = {parameter: gateway.path_values(parameter) for parameter in _NAMED}
    kind = name.partition("/v1/")[2].partition("/")[0]
    known = {
        "users": "ann",
        "notifications": gateway.known_id(),
        "templates": "welcome",
        "campaigns": gateway.CAMPAIGN,
        "hooks": gateway.A_HOOK,
        "keys": gateway.A_KEY,
    }
    values["id"] = (known.get(kind, "x"),)

    @st.composite
    def call(draw: st.DrawFn) -> Asking:
        case = draw(st.one_of(made))
        caller = draw(st.just(rightful) | st.sampled_from(gateway.CALLERS))
        if isinstance(case.path_parameters, dict):
            for parameter in case.path_parameters:
                if draw(st.booleans()):
                    case.path_parameters[parameter] = draw(st.sampled_from(values[parameter]))
        return Asking((_asked(caller, case),))

    return st.one_of(call(), call(), call(), st.sampled_from(good(name)))


#: What an operation needs beside the real bodies and ids: its query, and what is asked before.
_QUERIES = {"GET /v1/notifications/{id}/why": "user_id=ann", "GET /v1/query": "sql=SELECT%20%7Bx%3AString%7D&param_x=a"}
_AS_FORM = (("Content-Type", b"application/x-www-form-urlencoded"),)
_AS_JSON = (("Content-Type", b"application/json"),)


def _posted(path: str, body: Any) -> Asked:
    return Asked("ops", "POST", path, _AS_JSON, json.dumps(body).encode())


_REPLAY = _posted("/v1/replays", gateway.bodies()["POST", "/v1/replays"][0])
_BEFORE = {
    "GET /v1/erasures/{id}": (Asked("ops", "DELETE", "/v1/users/ann"),),
    "DELETE /v1/templates/{id}": (_posted("/v1/templates", gateway.bodies()["POST", "/v1/templates"][0]),),
    "GET /v1/replays/{id}": (_REPLAY,),
    "GET /v1/replays/{id}/candidates": (_REPLAY,),
    "POST /v1/replays/{id}/stop": (_REPLAY,),
    "POST /v1/replays/{id}/resume": (
        _REPLAY,
        *(Asked("ops", "POST", f"/v1/replays/{UUID(int=number, version=4)}/stop") for number in range(1, 3)),
    ),
}
#: Which operations no call here is answered as asked for, each with why.
NEVER: dict[str, str] = {
    "GET /v1/users/{id}/inbox/ws": "no call here shakes hands: see tests/unit/api/test_inbox_stream.py",
    **{
        f"POST /v1/webhooks/{provider}": "only the provider can sign it: see tests/unit/api/test_webhooks.py"
        for provider in ("ses", "sendgrid", "twilio", "vonage")
    },
}


def good(name: str) -> Sequence[Asking]:
    """Calls of what there is, by somebody to whom the operation is open, as it wants them; the last request of each is
    the operation's."""
    method, _, path = name.partition(" ")
    kind = path.partition("/v1/")[2].partition("/")[0]
    made_here = [str(UUID(int=number, version=4)) for number in range(5)]
    ids = {
        "users": ["ann"],
        "notifications": [gateway.known_id()],
        "templates": ["note", "welcome"],
        "campaigns": [gateway.CAMPAIGN],
        "hooks": [gateway.A_HOOK],
        "keys": [gateway.A_KEY],
    }
    named = ids.get(kind, made_here) if "{id}" in path else [""]
    targets = [_with_parameters(path, its) for its in named]
    if name in _QUERIES:
        targets = [f"{target}?{_QUERIES[name]}" for target in targets]
    caller, before = _rightful(operations()[name]), _BEFORE.get(name, ())
    bodies = gateway.bodies().get((method, path))
    if bodies is None:
        return [Asking((*before, Asked(caller, method, target))) for target in targets]
    as_form = name == "POST /preferences/{token}"
    return [
        Asking((*before, Asked(caller, method, target, *(_form(body) if as_form else _json(body)))))
        for target in targets
        for body in bodies
    ]


def _json(body: Any) -> tuple[tuple[tuple[str, bytes], ...], bytes]:
    return _AS_JSON, json.dumps(body).encode()


def _form(body: Any) -> tuple[tuple[tuple[str, bytes], ...], bytes]:
    return _AS_FORM, urlencode(body, doseq=True).encode()


def _with_parameters(path: str, its_id: str) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] == "token":
            return gateway.token_for(path)
        return its_id if found[1] == "id" else gateway.path_values(found[1])[0]

    return re.sub(r"\{(\w+)\}", value, path)


def _rightful(operation: Any) -> str:
    """Somebody to whom the operation is open."""
    security = operation.definition.raw["security"]
    if any("userToken" in way for way in security):
        return "ann"
    return "ops" if any("admin" in way.get("apiKey", ()) for way in security) else "shop"


def _asked(caller: str, case: Any) -> Asked:
    given = case.as_transport_kwargs(base_url="http://gateway")
    try:
        prepared = requests.Request(**{key: given[key] for key in _TRANSPORT if key in given}).prepare()
        headers = tuple(
            (name, value if isinstance(value, bytes) else value.encode("latin-1"))
            for name, value in prepared.headers.items()
            if name.lower() not in _OURS
        )
    except (ValueError, UnicodeError):
        reject()  # no client sends it
    body = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body
    target = prepared.path_url
    if len(target) > _LONGEST_TARGET or not isinstance(body, bytes | None):
        reject()
    return Asked(caller, prepared.method or "GET", target, headers, body)


def check(name: str, asking: Asking) -> None:
    """Raises Broken for an answer that nobody may get, or that the document doesn't have."""
    for asked, answered in zip(asking.requests, gateway.ask_all(asking), strict=True):
        gateway.judge(asked, answered)
    conforms(name, asked, answered)


def conforms(name: str, asked: Asked, answered: Answered) -> None:
    if asked.method != name.partition(" ")[0]:
        return  # another method than the document's, to see it refused
    operation = operations()[name]
    if answered.status in (404, 405) and b"there is no such path" in answered.body:
        return  # what was asked for is no path of this operation
    described = operation.definition.raw["responses"]
    if str(answered.status) not in described:
        raise Broken(f"{name} answers {answered.status}, which the document lacks: {answered.body[:200]!r}")
    try:
        operation.validate_response(_response(asked, answered))
    except (Failure, FailureGroup) as failure:
        raise Broken(f"{name} answers {answered.status}: {failure} {answered.body[:200]!r}") from failure


def _response(asked: Asked, answered: Answered) -> Response:
    return Response(
        status_code=answered.status,
        headers={name: [said] for name, said in answered.headers.items()},
        content=answered.body,
        request=requests.Request(asked.method, "http://gateway/").prepare(),
        elapsed=0.0,
        verify=False,
    )


def names() -> Sequence[str]:
    """Of every operation."""
    return tuple(f"{route.method} {route.path}" for resource in RESOURCES for route in resource.ROUTES)
