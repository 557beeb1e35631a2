"""SQL over what happened: read only, and limited."""

from typing import Any

from aiohttp import web
from msgspec import Struct

from app.api.call import Call, answer
from app.api.callers import ADMIN_READ
from app.api.problems import Problem
from app.api.routes import Route
from app.store.bound_values import PREFIX
from app.store.queries import Limits, QueryRefused

_MOST = 10_000


class QueryAnswer(Struct, frozen=True):
    """``truncated``: there are more rows than were asked for."""

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    truncated: bool


async def get(call: Call) -> web.Response:
    sql = call.query.get("sql", "").strip()
    if not sql:
        raise Problem(400, "is required", "sql")
    limits = Limits(rows=call.integer("limit", 1000, _MOST))
    values = {name.removeprefix(PREFIX): value for name, value in call.query.items() if name.startswith(PREFIX)}
    try:
        found = await call.deps.queries.run(sql, limits, values)
    except QueryRefused as refusal:
        raise Problem(422, str(refusal), "sql") from refusal
    return answer(QueryAnswer(list(found.columns), list(found.types), found.rows, found.truncated))


ROUTES = (
    Route(
        "GET",
        "/v1/query",
        get,
        ADMIN_READ,
        "One SQL statement that only reads the database notify",
        {200: QueryAnswer},
        query={
            "sql": f"The statement; the value of {{name:Type}} in it comes as {PREFIX}name",
            "limit": f"At most this many rows, 1 to {_MOST}; 1,000 by default",
        },
    ),
)
