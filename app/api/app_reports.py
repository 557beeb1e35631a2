"""What an app tells of its user: what was seen of a notification, and that the user is there."""

from typing import Any, Literal

import msgspec
from aiohttp import web
from msgspec import Struct

from app.api.call import Call, answer
from app.api.callers import OWN
from app.api.commands import command_user, user_of
from app.api.problems import Problem, problem_of
from app.api.routes import Route
from app.domain.ids import partition_of_send
from app.domain.partition import partition_of
from schemas.commands import ActivitySeen
from schemas.decode import Invalid, Reader
from schemas.instants import Instant, rfc3339
from schemas.receipts import ReceiptStatus, read_receipt
from schemas.topics import RECEIPTS
from schemas.words import Channel

#: What an app can know of; the rest is said by providers.
_SEEN_BY_APPS = ("delivered", "opened", "clicked", "seen")


class AppReceipt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of a send, or of a notification; ``occurred_at`` is now unless the app says."""

    status: ReceiptStatus
    notification_id: str | None = None
    send_id: str | None = None
    channel: Channel | None = None
    reason: str | None = None
    occurred_at: Instant | None = None
    detail: dict[str, Any] | None = None


class Noted(Struct, frozen=True):
    status: Literal["accepted"] = "accepted"


_read_receipt: Reader[AppReceipt] = Reader(AppReceipt)


async def post_receipt(call: Call) -> web.Response:
    user_id, deps = user_of(call), call.deps
    told = await call.read(_read_receipt)
    _check(told, user_id, deps.partitions)
    said = msgspec.to_builtins(told)
    given = {"id": deps.new_id(), "user_id": user_id, "occurred_at": told.occurred_at or rfc3339(deps.clock())}
    value = msgspec.json.encode({**said, **given})
    try:
        read_receipt(value)
    except Invalid as invalid:
        raise problem_of(invalid) from invalid
    await deps.publisher.publish(RECEIPTS, user_id.encode(), value)
    return answer(Noted(), 202)


async def post_activity(call: Call) -> web.Response:
    await command_user(call, "activity.seen", await call.fields())
    return answer(Noted(), 202)


def _check(told: AppReceipt, user_id: str, partitions: int) -> None:
    if told.status not in _SEEN_BY_APPS:
        raise Problem(422, f"an app tells {', '.join(_SEEN_BY_APPS)}", "status")
    if told.send_id is not None and partition_of_send(told.send_id) != partition_of(user_id.encode(), partitions):
        raise Problem(422, "is not a send to this user", "send_id")


ROUTES = (
    Route(
        "POST",
        "/v1/users/{id}/receipts",
        post_receipt,
        OWN,
        "Tell what the app saw of a notification: delivered, opened, clicked, seen",
        {202: Noted},
        body=AppReceipt,
    ),
    Route(
        "POST",
        "/v1/users/{id}/activity",
        post_activity,
        OWN,
        "Tell that the user is in the app now",
        {202: Noted},
        body=ActivitySeen,
    ),
)
