"""Dead letters: what couldn't be taken, with the reason and the field."""

from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from app.api.call import Call, answer
from app.api.callers import ADMIN_READ
from app.api.problems import Problem
from app.api.routes import Route
from app.store.dead_letters import Letter

_MOST = 500


class DeadPage(Struct, frozen=True):
    """Newest first; each letter as on notify_dead, and its place there as ``id``."""

    letters: list[dict[str, Any]]
    next_cursor: str | None = None


async def get(call: Call) -> web.Response:
    try:
        letters, cursor = await call.deps.dead.newest(call.integer("limit", 50, _MOST), call.query.get("cursor"))
    except ValueError as error:
        raise Problem(400, "is not a cursor", "cursor") from error
    return answer(DeadPage([_document(letter) for letter in letters], cursor))


def _document(found: Letter) -> dict[str, Any]:
    return {"id": f"{found.partition}-{found.offset}", **msgspec.to_builtins(found.letter)}


ROUTES = (
    Route(
        "GET",
        "/v1/dead",
        get,
        ADMIN_READ,
        "Dead letters, newest first",
        {200: DeadPage},
        query={
            "limit": f"At most so many, 1 to {_MOST}; 50 by default",
            "cursor": "The next_cursor of the page before",
        },
    ),
)
