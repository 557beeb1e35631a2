"""What became of a notification: how far it is, its events, and why in words."""

from typing import Any, Literal

from aiohttp import web
from msgspec import Struct

from app.api.call import Call, answer
from app.api.callers import READ
from app.api.explain import Explanation, explain
from app.api.known import known, notification_id_of
from app.api.problems import Problem, unknown
from app.api.routes import Route
from schemas.lifecycle import LifecycleEvent

_MOST = 1000


class NotificationStatus(Struct, frozen=True):
    """``delivery`` counts sends by channel and by what became of them."""

    notification_id: str
    status: Literal["pending", "done"]
    recipients: int
    created_at: str
    delivery: dict[str, dict[str, int]]


class Events(Struct, frozen=True):
    """Oldest first."""

    events: list[LifecycleEvent]
    next_cursor: str | None = None


async def get(call: Call) -> web.Response:
    found = await known(call)
    return answer(
        NotificationStatus(
            notification_id=notification_id_of(call),
            status="done" if found["done"] else "pending",
            recipients=found["recipients"],
            created_at=found["created_at"],
            delivery=found["delivery"],
        )
    )


async def get_events(call: Call) -> web.Response:
    await known(call)
    limit = call.integer("limit", 100, _MOST)
    try:
        events, cursor = await call.deps.history.events(
            notification_id_of(call), call.query.get("user_id"), call.query.get("cursor"), limit
        )
    except ValueError as error:
        raise Problem(400, "is not a cursor", "cursor") from error
    return answer({"events": events, "next_cursor": cursor})


async def get_why(call: Call) -> web.Response:
    user_id = call.query.get("user_id")
    if not user_id:
        raise Problem(400, "is required", "user_id")
    await known(call)
    events = await _all_events(call, user_id)
    if not events:
        raise unknown("the recipient")
    return answer(explain(events))


async def _all_events(call: Call, user_id: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page, cursor = await call.deps.history.events(notification_id_of(call), user_id, cursor, _MOST)
        events += page
        if cursor is None:
            return events


_RECIPIENT = {"user_id": "The recipient"}

ROUTES = (
    Route("GET", "/v1/notifications/{id}", get, READ, "A notification's status", {200: NotificationStatus}),
    Route(
        "GET",
        "/v1/notifications/{id}/events",
        get_events,
        READ,
        "Everything that happened to a notification, oldest first",
        {200: Events},
        query={
            **_RECIPIENT,
            "cursor": "The next_cursor of the previous page",
            "limit": f"1 to {_MOST}; 100 by default",
        },
    ),
    Route(
        "GET",
        "/v1/notifications/{id}/why",
        get_why,
        READ,
        "Why a recipient got it, or didn't",
        {200: Explanation},
        query=_RECIPIENT,
    ),
)
