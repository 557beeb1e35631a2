"""A user's preferences: the whole document, read, set or patched."""

from typing import Any

from aiohttp import web
from msgspec import Struct

from app.api.call import Call, answer
from app.api.callers import OWN_OR_ADMIN, OWN_OR_ADMIN_READ
from app.api.problems import Problem, problem_of
from app.api.routes import Route
from app.api.state import read, write_and_read
from app.domain.merge import merge_patch
from app.domain.preferences import Refused, parse_preferences
from schemas.decode import Invalid, TooLarge
from tables.preferences import NO_WISHES, with_document

_PATH = "/v1/users/{id}/preferences"
_VIEW = "preferences"


class PreferencesBody(Struct, frozen=True):
    """The document below ``preferences``, or the document itself."""

    preferences: dict[str, Any]


async def get(call: Call) -> web.Response:
    return answer(await _document(call))


async def put(call: Call) -> web.Response:
    document = await _requested(call)
    _check(call, document)
    return answer(await write_and_read(call, "preferences.set", {"preferences": document}, _VIEW) or {})


async def patch(call: Call) -> web.Response:
    """What it would make of the document is checked; the merging itself is the router's, in the log's order."""
    requested = await _requested(call)
    _check(call, merge_patch(await _document(call), requested))
    return answer(await write_and_read(call, "preferences.patch", {"preferences": requested}, _VIEW) or {})


async def _document(call: Call) -> dict[str, Any]:
    return await read(call, _VIEW) or {}


async def _requested(call: Call) -> dict[str, Any]:
    fields = await call.fields()
    document = fields.get("preferences", fields)
    if not isinstance(document, dict):
        raise Problem(400, "is not an object", "preferences")
    return document


def _check(call: Call, document: dict[str, Any]) -> None:
    try:
        parse_preferences(document, call.deps.config.catalog.policy)
        with_document(NO_WISHES, document)
    except (Refused, TooLarge) as refused:
        raise problem_of(refused) from refused
    except Invalid as invalid:
        raise Problem(400, invalid.reason, invalid.field) from invalid


ROUTES = (
    Route("GET", _PATH, get, OWN_OR_ADMIN_READ, "A user's preferences", {200: dict[str, Any]}),
    Route("PUT", _PATH, put, OWN_OR_ADMIN, "Set a user's preferences", {200: dict[str, Any]}, body=PreferencesBody),
    Route(
        "PATCH",
        _PATH,
        patch,
        OWN_OR_ADMIN,
        "Merge into a user's preferences (RFC 7396)",
        {200: dict[str, Any]},
        body=PreferencesBody,
        takes=("application/json", "application/merge-patch+json"),
    ),
)
