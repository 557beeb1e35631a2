"""A user's inbox: what is in it, how much of it is new, and marking."""

from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from app.api.call import Call, answer, no_content
from app.api.callers import OWN
from app.api.problems import Problem, unknown
from app.api.routes import Route
from app.api.state import read, write_and_read
from schemas.commands import Mark

_PATH = "/v1/users/{id}/inbox"
_ROLE = "in_app"
_MOST = 100
_MARKS: dict[str, Mark] = {"seen": "seen", "read": "read", "unread": "unread", "archive": "archived"}


class InboxPage(Struct, frozen=True):
    """Newest first. An item: id, title, body, url, image, data, created_at, seen, read, archived."""

    notifications: list[dict[str, Any]] = []
    unread_count: int = 0
    next_cursor: str | None = None


class InboxCount(Struct, frozen=True):
    unread: int = 0
    unseen: int = 0


async def get(call: Call) -> web.Response:
    asked = {"limit": str(call.integer("limit", 20, _MOST))}
    asked |= {name: call.query[name] for name in ("cursor",) if name in call.query}
    if _flag(call, "unread"):
        asked["unread"] = "true"
    return answer(msgspec.convert(await read(call, "inbox", role=_ROLE, **asked) or {}, InboxPage))


async def get_count(call: Call) -> web.Response:
    return answer(msgspec.convert(await read(call, "inbox_count", role=_ROLE) or {}, InboxCount))


async def post_mark(call: Call) -> web.Response:
    mark = _MARKS.get(call.path("mark"))
    if mark is None:
        raise unknown("the mark")
    return await _mark(call, {"notification_id": call.path("notification_id"), "as": mark})


async def post_read_all(call: Call) -> web.Response:
    return await _mark(call, {"all": True, "as": "read"})


async def _mark(call: Call, fields: dict[str, Any]) -> web.Response:
    await write_and_read(call, "inbox.mark", fields, "inbox_count", role=_ROLE)
    return no_content()


def _flag(call: Call, name: str) -> bool:
    match call.query.get(name, "false").lower():
        case "true" | "1" | "":
            return True
        case "false" | "0":
            return False
        case _:
            raise Problem(400, "is neither true nor false", name)


ROUTES = (
    Route(
        "GET",
        _PATH,
        get,
        OWN,
        "A page of a user's inbox, newest first",
        {200: InboxPage},
        query={
            "limit": f"At most so many, 1 to {_MOST}; 20 by default",
            "cursor": "The next_cursor of the page before",
            "unread": "true: only what is unread",
        },
    ),
    Route("GET", f"{_PATH}/count", get_count, OWN, "How much is unread and unseen", {200: InboxCount}),
    Route("POST", f"{_PATH}/read-all", post_read_all, OWN, "Mark all as read", {204: None}),
    Route(
        "POST",
        f"{_PATH}/{{notification_id}}/{{mark}}",
        post_mark,
        OWN,
        "Mark an item: seen, read, unread, archive",
        {204: None},
    ),
)
