"""POST and DELETE of notifications: taken with 202 once every in-sync replica has all of it."""

from itertools import chain, islice
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta, Raw, Struct

from app.api.call import Call, answer
from app.api.callers import SEND
from app.api.commands import command_all
from app.api.intake import Notification, Taken, take
from app.api.problems import Problem, unknown
from app.api.routes import Route
from schemas.decode import Reader

MAX_BULK_BODY_BYTES = 16 << 20
#: A thousand requests may have a thousand recipients each: never are all of their records held at once.
_RECORDS_AT_ONCE = 2000


class Accepted(Struct, frozen=True):
    notification_id: str
    recipients: int
    status: Literal["accepted"] = "accepted"


class BulkBody(Struct, frozen=True):
    requests: Annotated[list[Raw], Meta(min_length=1, max_length=1000)]


#: As it is described to callers.
Bulk = msgspec.defstruct("Bulk", [("requests", Annotated[list[Notification], Meta(min_length=1, max_length=1000)])])  # type: ignore[valid-type]  # made above


class BulkAccepted(Struct, frozen=True):
    """One result a request, in order: the accepted notification or a problem."""

    results: list[dict[str, Any]]


class Cancelling(Struct, frozen=True):
    notification_id: str
    status: Literal["accepted"] = "accepted"


_read_bulk: Reader[BulkBody] = Reader(BulkBody)


async def post(call: Call) -> web.Response:
    taken = _take(call, await call.body(), call.request.headers.get("Idempotency-Key"))
    with call.deps.room.for_records(len(taken.recipients)):
        await call.deps.publisher.publish_many(list(taken.records()))
    return answer(Accepted(taken.notification_id, len(taken.recipients)), 202)


async def post_bulk(call: Call) -> web.Response:
    """Each request by itself: one that is refused doesn't hold up the others."""
    if "Idempotency-Key" in call.request.headers:
        raise Problem(400, "the header is for one notification: give each request its own", "idempotency_key")
    body = await call.read(_read_bulk, MAX_BULK_BODY_BYTES)
    results: list[dict[str, Any]] = []
    taken: list[Taken] = []
    for raw in body.requests:
        try:
            one = _take(call, raw, None)
        except Problem as problem:
            results.append(problem.document())
        else:
            taken.append(one)
            results.append(msgspec.to_builtins(Accepted(one.notification_id, len(one.recipients))))
    records = chain.from_iterable(one.records() for one in taken)
    while some := list(islice(records, _RECORDS_AT_ONCE)):
        with call.deps.room.for_records(len(some)):
            await call.deps.publisher.publish_many(some)
    return answer(BulkAccepted(results), 202)


async def delete(call: Call) -> web.Response:
    """Cancels what this service has sent, or is about to send, under the id; the truth is in the events."""
    notification_id = notification_id_of(call)
    fields = {"notification_id": notification_id, "source": call.service.source}
    await command_all(call, "notification.cancel", fields)
    return answer(Cancelling(notification_id), 202)


def notification_id_of(call: Call) -> str:
    """The path's notification id; what isn't a UUID is not known."""
    try:
        return str(UUID(call.path("id")))
    except ValueError:
        raise unknown("the notification") from None


def _take(call: Call, raw: bytes | Raw, header_key: str | None) -> Taken:
    deps = call.deps
    return take(raw, header_key, call.service.source, deps.config.catalog, deps.clock(), deps.new_id())


ROUTES = (
    Route(
        "POST",
        "/v1/notifications",
        post,
        SEND,
        "Tell one user, or up to 1,000, something",
        {202: Accepted},
        body=Notification,
    ),
    Route(
        "POST",
        "/v1/notifications/bulk",
        post_bulk,
        SEND,
        "Up to 1,000 notifications at once, each with its own result",
        {202: BulkAccepted},
        body=Bulk,
    ),
    Route(
        "DELETE",
        "/v1/notifications/{id}",
        delete,
        SEND,
        "Cancel what isn't sent yet of a notification",
        {202: Cancelling},
    ),
)
