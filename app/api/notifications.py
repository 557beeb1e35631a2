"""POST and DELETE of notifications: taken with 202 once every in-sync replica has all of it."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta, Raw, Struct

from app.api.audit_log import audited
from app.api.call import Call, answer
from app.api.callers import READ, SEND
from app.api.commands import command_all
from app.api.intake import Notification, Taken, take
from app.api.known import known, notification_id_of
from app.api.problems import Problem, unknown
from app.api.routes import Route
from app.store.publisher import Outgoing
from schemas.decode import Reader

MAX_BULK_BODY_BYTES = 16 << 20
#: A thousand requests may have a thousand recipients each: never are all of their records held at once.
_PIECE_RECORDS = 2000
_PIECE_OCTETS = 8 << 20
#: Requests that are read before other calls have their turn.
_AT_A_TIME = 50
#: A key that may send for some event types only asks ClickHouse at most three times for what it cancels.
_CANCEL_PAUSE_S = 1.0


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
    await _publish(call, [taken])
    return answer(Accepted(taken.notification_id, len(taken.recipients)), 202)


async def post_bulk(call: Call) -> web.Response:
    """Each request by itself: one that is refused doesn't hold up the others."""
    if "Idempotency-Key" in call.request.headers:
        raise Problem(400, "the header is for one notification: give each request its own", "idempotency_key")
    body = await call.read(_read_bulk, MAX_BULK_BODY_BYTES)
    results: list[dict[str, Any]] = []
    taken: list[Taken] = []
    call.count_more(len(body.requests) - 1)
    for number, raw in enumerate(body.requests, 1):
        if number % _AT_A_TIME == 0:
            await asyncio.sleep(0)  # others' calls have their turn
        try:
            one = _take(call, raw, None)
        except Problem as problem:
            results.append(problem.document())
        else:
            taken.append(one)
            results.append(msgspec.to_builtins(Accepted(one.notification_id, len(one.recipients))))
    await _publish(call, taken)
    return answer(BulkAccepted(results), 202)


async def delete(call: Call) -> web.Response:
    """Cancels what this service has sent, or is about to send, under the id; the truth is in the events."""
    notification_id = notification_id_of(call)
    await _check_cancel(call, notification_id)
    if call.service.event_types is not None:
        await _check_event_types(call)
    fields = {"notification_id": notification_id, "source": call.service.source}
    await audited(call, f"notification {notification_id} of {call.service.source or 'no source'}")
    await command_all(call, "notification.cancel", fields)
    return answer(Cancelling(notification_id), 202)


def _take(call: Call, raw: bytes | Raw, header_key: str | None) -> Taken:
    deps = call.deps
    return take(
        raw,
        header_key,
        call.service.source,
        deps.config.catalog,
        deps.clock(),
        deps.new_id(),
        may_be_critical=call.service.may_be_critical,
        check_event_type=call.check_event_type,
    )


async def _publish(call: Call, taken: Sequence[Taken]) -> None:
    """All records, a piece at a time. Raises Problem 429 where there is no room, never after the first piece."""
    spans = call.deps.tracing.begin(call.request, taken) if call.deps.tracing is not None else ()
    critical = all(one.lane == "critical" for one in taken)
    records = sum(len(one.recipients) for one in taken)
    if records == 1:
        [record] = chain.from_iterable(one.records() for one in taken)
        call.hold.take_records(1, _octets(record), critical=critical)
        await call.deps.publisher.publish_many([record])
    else:
        await _publish_in_pieces(call, taken, records, critical=critical)
    if call.deps.tracing is not None:
        call.deps.tracing.show(spans)


async def _publish_in_pieces(call: Call, taken: Sequence[Taken], records: int, *, critical: bool) -> None:
    # Before the records are made, so that it costs little to refuse what there is no room for.
    call.hold.take_records(min(records, 2 * _PIECE_RECORDS), 0, critical=critical)
    pieces = in_pieces(chain.from_iterable(one.records() for one in taken))
    piece, following = next(pieces, None), next(pieces, None)
    if piece is not None:
        octets = 2 * _PIECE_OCTETS if following else sum(_octets(record) for record in piece)
        call.hold.take_records(0, octets, critical=critical)
    while piece is not None:
        await call.deps.publisher.publish_many(piece)
        piece, following = following, next(pieces, None)


def in_pieces(records: Iterable[Outgoing]) -> Iterator[list[Outgoing]]:
    """In order, such that a piece is no longer and, but for its last record, no larger than may be held at once."""
    piece: list[Outgoing] = []
    octets = 0
    for record in records:
        piece.append(record)
        octets += _octets(record)
        if len(piece) >= _PIECE_RECORDS or octets >= _PIECE_OCTETS:
            yield piece
            piece, octets = [], 0
    if piece:
        yield piece


def _octets(record: Outgoing) -> int:
    return len(record.value or b"")


async def _check_event_types(call: Call) -> None:
    """Of what is asked to be cancelled by a key that may send for some event types only. Raises Problem 404 where after
    a while nothing is known that they could be found by; 403, or 404 for a key that may not know what there is."""
    try:
        for event_type in (await known(call, pause_s=_CANCEL_PAUSE_S))["event_types"]:
            call.check_event_type(event_type)
    except Problem as problem:
        if problem.status == 403 and call.service.scopes.isdisjoint(READ.scopes):
            raise unknown("the notification") from problem
        raise


async def _check_cancel(call: Call, notification_id: str) -> None:
    """Raises Problem 429 for too many notifications that aren't known; what is known can always be cancelled."""
    if call.deps.limits.may_cancel_unknown(call.service):
        return
    found = await call.deps.history.status(notification_id)
    if found is None or not call.service.may_see(found["source"]):
        again = {"Retry-After": "1"}
        raise Problem(429, "too many cancellations of unknown notifications", headers=again, limit="unknown_cancels")


ROUTES = (
    Route(
        "POST",
        "/v1/notifications",
        post,
        SEND,
        "Notify one user, or up to 1,000",
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
        action="notification.cancel",
    ),
)
