"""The link to unsubscribe: a GET asks, a POST acts (RFC 8058). Programs open links of mail; none of them posts."""

from uuid import UUID

from aiohttp import web

from app.api.call import Call
from app.api.callers import PUBLIC
from app.api.commands import command_of, publish_command
from app.api.links import opened
from app.api.pages import texts_of
from app.api.routes import Route
from app.domain.links import OfSend
from schemas.instants import rfc3339
from schemas.receipts import Receipt, encode_receipt
from schemas.topics import RECEIPTS

_PATH = "/v1/unsubscribe/{token}"
#: What RFC 8058 has in a body is 26 bytes, some more as a multipart form; what it holds doesn't matter.
_MAX_BODY_BYTES = 64 << 10


async def get(call: Call) -> web.Response:
    return _page(call, opened(call, "unsubscribe", OfSend), "ask")


async def post(call: Call) -> web.Response:
    """One command, which opts out, and one receipt, which is the router's to report: it knows whether the send is."""
    sent = opened(call, "unsubscribe", OfSend)
    await call.body(_MAX_BODY_BYTES)
    command = command_of(
        call, "preferences.unsubscribe", sent.user_id, {"channel": sent.channel, "category": sent.category}
    )
    await publish_command(call, command)
    receipt = Receipt(
        id=command.id,
        occurred_at=rfc3339(call.deps.clock()),
        status="unsubscribed",
        user_id=sent.user_id,
        send_id=str(UUID(bytes=sent.send)),
        channel=sent.channel,
    )
    await call.deps.publisher.publish(RECEIPTS, sent.user_id.encode(), encode_receipt(receipt))
    return _page(call, sent, "done")


def _page(call: Call, sent: OfSend, state: str) -> web.Response:
    """``state``: of what can be turned off."""
    category = call.deps.config.catalog.policy.categories.get(sent.category)
    return call.deps.pages.answer(
        call.request,
        "unsubscribe",
        state="never" if category is not None and category.opt_out_never else state,
        category=(category.label if category is not None else "") or sent.category,
        description=category.description if category is not None else "",
        channel=texts_of(call.request)[f"channel.{sent.channel}"],
    )


ROUTES = (
    Route(
        "GET",
        _PATH,
        get,
        PUBLIC,
        "A page that asks whether to unsubscribe; it changes nothing",
        {200: str},
        gives=("text/html",),
        head=True,
    ),
    Route(
        "POST",
        _PATH,
        post,
        PUBLIC,
        "Unsubscribe from the category on the channel (RFC 8058)",
        {200: str},
        gives=("text/html",),
    ),
)
