"""A user's inbox live: server-sent events, a WebSocket, and tickets for clients that can't send a header."""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal

from aiohttp import WSCloseCode, WSMessage, web
from msgspec import Struct

from app.api.call import BEGAN, Call, answer
from app.api.callers import OWN, OWN_OR_TICKET, User
from app.api.commands import user_of
from app.api.connections import Connection
from app.api.problems import Problem, later
from app.api.routes import Route
from app.api.streams import Ended, Ending, Stream
from app.domain.inbox_events import Event
from schemas.instants import rfc3339

_PATH = "/v1/users/{id}/inbox"
#: So often something is written, so that nobody between takes the connection for dead, and nobody's absence goes
#: unnoticed.
_HEARTBEAT_S = 20.0
#: Whoever hasn't taken what was written in this time is dropped.
_SLOW_S = 10.0
#: In which a WebSocket's close has to be taken.
_CLOSING_S = 2.0
#: What a client may say on its WebSocket, which nobody listens to.
_MOST_MESSAGE_BYTES, _MOST_MESSAGES = 4 * 1024, 100
_VERSION = re.compile(r"[0-9]{1,18}")
_HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}


class TicketAnswer(Struct, frozen=True):
    """Good for one stream until ``expires_at``."""

    ticket: str
    expires_at: str


class StreamEvent(Struct):
    """``data`` is JSON: of a notification the item, of an update its id and marks, of the counts those."""

    id: str
    event: Literal["notification", "update", "count", "reset"]
    data: str


async def post_ticket(call: Call) -> web.Response:
    user_id, now = user_of(call), call.deps.clock()
    ticket, expires = call.deps.tickets.make(user_id, _ends(call, now))
    return answer(TicketAnswer(ticket, rfc3339(expires)))


async def get_stream(call: Call) -> web.StreamResponse:
    after = _last_event_id(call)
    response = web.StreamResponse(headers=_HEADERS)
    response.content_type, response.charset = "text/event-stream", "utf-8"
    with suppress(Ending), _opened(call) as stream:
        await _claim(call)
        first = await _begun(stream, after)
        await response.prepare(call.request)
        call.request[BEGAN] = time.monotonic()
        # A client that lost its stream comes back soon, but not with all others at once.
        retry = b"retry: %d\n\n" % random.randint(500, 1500)
        await _written(stream, response.write(retry + b"".join(event.as_server_sent() for event in first)))
        async for events in stream.events(_HEARTBEAT_S):
            payload = b"".join(event.as_server_sent() for event in events)
            await _written(stream, response.write(payload or b":\n\n"))
    return response


async def get_ws(call: Call) -> web.StreamResponse:
    _check_origin(call)
    after = _last_event_id(call)
    if not web.WebSocketResponse().can_prepare(call.request):
        raise Problem(400, "is not a WebSocket's handshake", "Upgrade", headers={"Upgrade": "websocket"})
    socket = web.WebSocketResponse(
        heartbeat=_HEARTBEAT_S, max_msg_size=_MOST_MESSAGE_BYTES, timeout=1.0, compress=False
    )
    with suppress(Ending), _opened(call) as stream:
        await _claim(call)
        first = await _begun(stream, after)
        await socket.prepare(call.request)
        call.request[BEGAN] = time.monotonic()
        listening = asyncio.create_task(_listen(socket, stream))
        try:
            await _send(socket, stream, first)
            async for events in stream.events(_HEARTBEAT_S):
                await _send(socket, stream, events)
        except Ending as ending:
            if not _is_blocked(call):
                await _close(socket, ending.why)
            raise
        finally:
            listening.cancel()
    return socket


#: How a WebSocket is closed.
_CLOSES: dict[Ended, tuple[int, bytes]] = {
    "token": (WSCloseCode.POLICY_VIOLATION, b"the token has expired"),
    "stopping": (WSCloseCode.GOING_AWAY, b"the gateway is stopping: connect again"),
    "unavailable": (WSCloseCode.TRY_AGAIN_LATER, b"the inbox can't be read: connect again"),
    "gone": (WSCloseCode.OK, b""),
    "slow": (WSCloseCode.TRY_AGAIN_LATER, b"too slow: connect again"),
}


async def _close(socket: web.WebSocketResponse, why: Ended) -> None:
    code, words = _CLOSES[why]
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSING_S):
            await socket.close(code=code, message=words)


async def _listen(socket: web.WebSocketResponse, stream: Stream) -> None:
    """Until the client closes it; what it says is nothing."""
    received = 0
    _message: WSMessage
    async for _message in socket:
        received += 1
        if received > _MOST_MESSAGES:
            break
    stream.end("gone")


async def _begun(stream: Stream, after: int | None) -> list[Event]:
    """Raises Problem 401, 503 where the stream ends before it has begun, OwnerUnavailableError."""
    try:
        return await stream.begin(after)
    except Ending as ending:
        raise _expired() if ending.why == "token" else later("this gateway is stopping: connect again") from None


async def _send(socket: web.WebSocketResponse, stream: Stream, events: Sequence[Event]) -> None:
    for event in events:
        await _written(stream, socket.send_str(event.as_message()))


async def _written(stream: Stream, writing: Awaitable[None]) -> None:
    """Raises Ending."""
    try:
        await stream.until_end(writing, _SLOW_S)
    except TimeoutError:
        raise Ending("slow") from None
    except (ConnectionError, RuntimeError):
        raise Ending("gone") from None


@contextmanager
def _opened(call: Call) -> Iterator[Stream]:
    now = call.deps.clock()
    with call.deps.streams.opened(user_of(call), max(0, _ends(call, now) - now) / 1000) as stream:
        connection = call.request.protocol
        if isinstance(connection, Connection):
            connection.on_lost = lambda: stream.end("gone")
        try:
            yield stream
        finally:
            if isinstance(connection, Connection):
                connection.on_lost = None
                if connection.is_blocked:  # nobody waits until it takes what was written
                    connection.abort()


def _is_blocked(call: Call) -> bool:
    connection = call.request.protocol
    return isinstance(connection, Connection) and connection.is_blocked


def _ends(call: Call, now: int) -> int:
    """When the token, or the ticket's, ends (Unix ms). Raises Problem 401 where it has."""
    assert isinstance(call.caller, User)
    ends = call.caller.ends_ms
    if ends <= now:
        raise _expired()
    return ends


def _expired() -> Problem:
    return Problem(401, "the token has expired", headers={"WWW-Authenticate": "Bearer"})


async def _claim(call: Call) -> None:
    assert isinstance(call.caller, User)
    if call.caller.ticket is not None:
        await call.deps.tickets.claim(call.caller.ticket)


def _last_event_id(call: Call) -> int | None:
    """Where to resume: the header's, which a browser keeps up to date, else the parameter's. Raises Problem 400."""
    header = call.request.headers.get("Last-Event-ID")
    field, text = "Last-Event-ID", header
    if text is None:
        field, text = "last_event_id", call.query.get("last_event_id")
    if text is None or text == "":
        return None
    if not _VERSION.fullmatch(text):
        raise Problem(400, "is not the id of an event of an inbox", field)
    return int(text)


def _check_origin(call: Call) -> None:
    """A browser lets every page open a WebSocket anywhere, so the origin is looked at here. Raises Problem 403."""
    origin = call.request.headers.get("Origin")
    if origin is None or origin in call.deps.cors_origins or origin.partition("://")[2] == call.request.host:
        return
    raise Problem(403, "this origin is not among gateway.cors_origins", "Origin")


_RESUME = {
    "ticket": "In place of a token: a ticket from POST …/inbox/ticket",
    "last_event_id": "Where to resume; the header Last-Event-ID takes precedence",
}

ROUTES = (
    Route("POST", f"{_PATH}/ticket", post_ticket, OWN, "A ticket for one stream, within 60 s", {200: TicketAnswer}),
    Route(
        "GET",
        f"{_PATH}/stream",
        get_stream,
        OWN_OR_TICKET,
        "The inbox live, as server-sent events: notification, update, count, reset",
        {200: StreamEvent},
        query=_RESUME,
        gives=("text/event-stream",),
    ),
    Route(
        "GET",
        f"{_PATH}/ws",
        get_ws,
        OWN_OR_TICKET,
        "The inbox live, as a WebSocket: messages {id, event, data}",
        {101: None},
        query=_RESUME,
    ),
)
