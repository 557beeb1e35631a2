"""Opens and clicks of mail: the pixel, and links that lead on at once, whatever becomes of the receipt."""

from uuid import UUID

from aiohttp import web

from app.api.call import Call
from app.api.callers import PUBLIC
from app.api.links import named
from app.api.routes import Route
from app.domain.links import Click, OfSend
from app.domain.machines import is_machine
from schemas.instants import rfc3339
from schemas.receipts import Receipt, ReceiptStatus

#: A transparent picture of one pixel.
PIXEL = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
#: Nobody keeps either: each fetch is another open or click.
_HEADERS = {"Cache-Control": "no-store, private", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}


async def get_open(call: Call) -> web.Response:
    """Also a HEAD."""
    sent = named(call, "open", OfSend)
    _report(call, "opened", sent, "")
    return web.Response(body=PIXEL, content_type="image/gif", headers=_HEADERS)


async def get_click(call: Call) -> web.Response:
    """Also a HEAD."""
    clicked = named(call, "click", Click)
    _report(call, "clicked", clicked.sent, clicked.url)
    return web.Response(status=302, headers={**_HEADERS, "Location": clicked.url})


def _report(call: Call, status: ReceiptStatus, sent: OfSend, url: str) -> None:
    """Leaves the receipt to be written in a moment."""
    machine = is_machine(call.request.method, call.request.headers)
    receipt = Receipt(
        id=call.deps.new_id(),
        occurred_at=rfc3339(call.deps.clock()),
        status=status,
        user_id=sent.user_id,
        send_id=str(UUID(bytes=sent.send)),
        channel=sent.channel,
        detail={"machine": True} if machine else None,
    )
    call.deps.reporter.report((status, sent.send, url, machine), receipt)


ROUTES = (
    Route(
        "GET",
        "/v1/track/open/{token}.gif",
        get_open,
        PUBLIC,
        "A one-pixel picture that reports that a mail was opened",
        {200: bytes},
        gives=("image/gif",),
        head=True,
    ),
    Route(
        "GET",
        "/v1/track/click/{token}",
        get_click,
        PUBLIC,
        "Redirect to the target of a link in a mail, and report the click",
        {302: None},
        head=True,
    ),
)
