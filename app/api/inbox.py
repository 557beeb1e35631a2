"""A user's inbox: what is in it, how much of it is new, marking, and putting off."""

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
from schemas.decode import Category, Reader

_PATH = "/v1/users/{id}/inbox"
_ROLE = "in_app"
_MOST = 100
_MARKS: dict[str, Mark] = {"seen": "seen", "read": "read", "unread": "unread", "archive": "archived"}


class InboxPage(Struct, frozen=True):
    """Newest first. An item: id, title, body, url, image, data, created_at, seen, read, archived, icon, actions,
    expires_at, category, snoozed_until. ``last_event_id``: where a stream that continues the page begins."""

    notifications: list[dict[str, Any]] = []
    unread_count: int = 0
    next_cursor: str | None = None
    last_event_id: str = "0"


class InboxCount(Struct, frozen=True):
    unread: int = 0
    unseen: int = 0


class InboxSummary(Struct, frozen=True):
    """All that an app shows before the inbox is opened. ``badge``: for the app's icon."""

    badge: int = 0
    unread: int = 0
    unseen: int = 0
    total: int = 0
    archived: int = 0
    snoozed: int = 0
    last_event_id: str = "0"


class Snooze(Struct, frozen=True):
    """Until when the item is put off (RFC 3339); null, or a time that is over: it comes back now."""

    until: str | None


_read_snooze: Reader[Snooze] = Reader(Snooze)


async def get(call: Call) -> web.Response:
    asked = {"limit": str(call.integer("limit", 20, _MOST))}
    asked |= {name: call.query[name] for name in ("cursor",) if name in call.query}
    if _flag(call, "unread"):
        asked["unread"] = "true"
    for name in ("archived", "snoozed"):
        if name in call.query:
            asked[name] = str(_flag(call, name)).lower()
    if "category" in call.query:
        asked["category"] = _category(call)
    return answer(msgspec.convert(await read(call, "inbox", role=_ROLE, **asked) or {}, InboxPage))


async def get_count(call: Call) -> web.Response:
    return answer(msgspec.convert(await read(call, "inbox_count", role=_ROLE) or {}, InboxCount))


async def get_summary(call: Call) -> web.Response:
    return answer(msgspec.convert(await read(call, "inbox_summary", role=_ROLE) or {}, InboxSummary))


async def post_snooze(call: Call) -> web.Response:
    fields = {"notification_id": call.path("notification_id"), "until": (await call.read(_read_snooze)).until}
    await write_and_read(call, "inbox.snooze", fields, "inbox_count", role=_ROLE)
    return no_content()


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


def _category(call: Call) -> str:
    try:
        return msgspec.convert(call.query["category"], Category)
    except msgspec.ValidationError as error:
        raise Problem(400, "is not a category", "category") from error


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
            "limit": f"At most this many, 1 to {_MOST}; 20 by default",
            "cursor": "The next_cursor of the previous page",
            "unread": "true: only unread items",
            "archived": "true: only archived items; false: all others",
            "snoozed": "true: only snoozed items; false: all others",
            "category": "Only items of this category",
        },
    ),
    Route("GET", f"{_PATH}/count", get_count, OWN, "How much is unread and unseen", {200: InboxCount}),
    Route("GET", f"{_PATH}/summary", get_summary, OWN, "Badge and counts in one call", {200: InboxSummary}),
    Route(
        "POST",
        f"{_PATH}/{{notification_id}}/snooze",
        post_snooze,
        OWN,
        "Snooze an item, or bring it back",
        {204: None},
        body=Snooze,
    ),
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
