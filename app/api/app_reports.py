"""What an app tells of its user: what was seen of a notification, and that the user is there."""

import asyncio
from typing import Any, Literal

import msgspec
from aiohttp import web
from msgspec import Struct

from app.api.call import Call, answer
from app.api.callers import OWN
from app.api.commands import command_user, user_of
from app.api.problems import Problem, problem_of, unknown
from app.api.routes import Route
from app.domain.ids import partition_of_send
from app.domain.partition import partition_of
from app.store.owner_client import OwnerUnavailableError
from schemas.commands import ActivitySeen
from schemas.decode import Invalid, Reader
from schemas.instants import Instant, rfc3339
from schemas.receipts import ReceiptStatus, read_receipt
from schemas.topics import RECEIPTS
from schemas.words import Channel

#: What an app can know of; providers report the rest.
_SEEN_BY_APPS = ("delivered", "opened", "clicked", "seen")
#: How long a send that isn't known is waited for, as it may only just have been decided; and the pauses after which its
#: owner is asked again meanwhile.
_PATIENCE_S = 2.0
_PAUSES_S = (0.1, 0.2, 0.4, 0.6, 0.6)


class AppReceipt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of a send, or of a notification; ``occurred_at`` is now unless the app says."""

    status: ReceiptStatus
    notification_id: str | None = None
    send_id: str | None = None
    channel: Channel | None = None
    reason: str | None = None
    occurred_at: Instant | None = None
    detail: dict[str, Any] | None = None


class _Known(Struct, frozen=True):
    """What the router knows of a send that a user names: whose it is."""

    whose: Literal["own", "other", "unknown"]


class Noted(Struct, frozen=True):
    status: Literal["accepted"] = "accepted"


_read_receipt: Reader[AppReceipt] = Reader(AppReceipt)


async def post_receipt(call: Call) -> web.Response:
    """Raises Problem 404 for a send that isn't known, 403 for another user's. 202 where nobody can tell right now:
    the router will."""
    user_id, deps = user_of(call), call.deps
    report = await call.read(_read_receipt)
    if report.status not in _SEEN_BY_APPS:
        raise Problem(422, f"an app reports {', '.join(_SEEN_BY_APPS)}", "status")
    reported = msgspec.to_builtins(report)
    given = {"id": deps.new_id(), "user_id": user_id, "occurred_at": report.occurred_at or rfc3339(deps.clock())}
    value = msgspec.json.encode({**reported, **given})
    try:
        read_receipt(value)
    except Invalid as invalid:
        raise problem_of(invalid) from invalid
    await _check_send(call, user_id, report)
    await deps.publisher.publish(RECEIPTS, user_id.encode(), value)
    return answer(Noted(), 202)


async def post_activity(call: Call) -> web.Response:
    await command_user(call, "activity.seen", await call.fields())
    return answer(Noted(), 202)


async def _check_send(call: Call, user_id: str, report: AppReceipt) -> None:
    """Raises Problem where the receipt isn't of a send to this user."""
    partitions = call.deps.partitions
    field = "notification_id" if report.send_id is None else "send_id"
    mine = partition_of(user_id.encode(), partitions)
    lies_in = mine if report.send_id is None else partition_of_send(report.send_id)
    if lies_in is None or lies_in >= partitions:
        raise unknown("the send", field)
    known = await _known(call, user_id, lies_in, report)
    if known is not None and known.whose == "unknown":
        raise unknown("the send", field)
    if lies_in != mine or (known is not None and known.whose == "other"):
        raise Problem(403, "is not a send to this user", field)


async def _known(call: Call, user_id: str, partition: int, report: AppReceipt) -> _Known | None:
    """None where no owner answers. Raises Problem 429."""
    named = {"notification_id": report.notification_id, "send_id": report.send_id, "channel": report.channel}
    params = {"user_id": user_id} | {name: value for name, value in named.items() if value is not None}
    known: _Known | None = None
    try:
        async with asyncio.timeout(_PATIENCE_S):
            for pause_s in (*_PAUSES_S, None):
                read = await call.deps.owner.read_partition("router", partition, "whose", params)
                if read is None:  # a router of the version before, which has no such view
                    return None
                first, known = known is None, msgspec.convert(read, _Known)
                if known.whose != "unknown" or pause_s is None:
                    break
                if first:
                    call.deps.limits.count_unknown_send(user_id)
                await asyncio.sleep(pause_s)
    except (TimeoutError, OwnerUnavailableError):
        pass
    return known


ROUTES = (
    Route(
        "POST",
        "/v1/users/{id}/receipts",
        post_receipt,
        OWN,
        "Report what the app saw of a notification: delivered, opened, clicked, seen",
        {202: Noted},
        body=AppReceipt,
    ),
    Route(
        "POST",
        "/v1/users/{id}/activity",
        post_activity,
        OWN,
        "Report that the user is in the app now",
        {202: Noted},
        body=ActivitySeen,
    ),
)
