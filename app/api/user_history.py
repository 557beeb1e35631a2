"""A user's own history: what was meant for them, and what became of it."""

from typing import Any

from aiohttp import web
from msgspec import Struct

from app.api.call import Call, answer
from app.api.callers import OWN_OR_ADMIN_READ
from app.api.commands import user_of
from app.api.problems import Problem
from app.api.routes import Route

_MOST = 100
#: As long as it is known at all.
_KEPT_MS = 90 * 86_400_000


class UserHistory(Struct, frozen=True):
    """Newest first. An entry: notification_id, event_type, category, channel (null: all of them), status, reason, and
    at, when it was accepted."""

    notifications: list[dict[str, Any]]
    next_cursor: str | None = None


async def get(call: Call) -> web.Response:
    user_id, now, limit = user_of(call), call.deps.clock(), call.integer("limit", 20, _MOST)
    cursor = call.query.get("cursor")
    since = max(now - _KEPT_MS, call.deps.erased.until(user_id) or 0)
    is_erased = call.deps.erased.hides(user_id, now)
    try:
        found, more = await call.deps.history.of_user(user_id, since, cursor, limit)
    except ValueError as error:
        raise Problem(400, "is not a cursor", "cursor") from error
    return answer(UserHistory([], None) if is_erased else UserHistory(found, more))


ROUTES = (
    Route(
        "GET",
        "/v1/users/{id}/notifications",
        get,
        OWN_OR_ADMIN_READ,
        "What was meant for a user in the last 90 days, newest first",
        {200: UserHistory},
        query={"cursor": "The next_cursor of the previous page", "limit": f"1 to {_MOST}; 20 by default"},
    ),
)
