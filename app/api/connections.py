"""The gateway's connections: how long each may take, and how many there may be whose caller hasn't shown good
credentials. aiohttp has neither limit, so that half-sent headers would stay for ever and silence would shut others out.
"""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError, LineTooLong
from aiohttp.web_protocol import RequestPayloadError

from app.api.answering import has_left
from app.api.limits import address_of
from app.api.problems import Problem, bad_coding
from app.api.refusals import UNCOUNTED, Counting, Ended
from app.domain.client_certificates import names_of
from app.serving import BareResponse

log = structlog.get_logger(__name__)

MAX_REQUEST_LINE_BYTES = 8 << 10
MAX_HEADER_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Seconds, and numbers of connections whose caller hasn't shown good credentials yet."""

    #: From a header's first byte to its end.
    header_s: float = 10.0
    #: Without a request.
    idle_s: float = 75.0
    #: In which nothing of an answer is taken.
    blocked_s: float = 30.0
    #: Between closing it and its end.
    closing_s: float = 10.0
    unknown: int = 2000
    unknown_per_address: int = 200


class Connections:
    """All connections of a server. Beyond a limit the one that has been without a request for longest is closed, so
    that whoever comes next and asks at once is answered."""

    def __init__(self, limits: ConnectionLimits, counting: Counting = UNCOUNTED) -> None:
        self.limits = limits
        self.counting = counting
        self._all: set[Connection] = set()
        self._unknown: OrderedDict[Connection, None] = OrderedDict()
        self._by_address: dict[str, OrderedDict[Connection, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def opened(self, connection: "Connection") -> None:
        self._all.add(connection)
        self._unknown[connection] = None
        mine = self._by_address.setdefault(connection.address, OrderedDict())
        mine[connection] = None
        if len(mine) > self.limits.unknown_per_address:
            self._close(next(iter(mine)), "address_limit")
        elif len(self._unknown) > self.limits.unknown:
            self._close(next(iter(self._unknown)), "limit")

    def asked(self, connection: "Connection") -> None:
        """A whole request has come."""
        if connection in self._unknown:
            self._unknown.move_to_end(connection)
            self._by_address[connection.address].move_to_end(connection)

    def trust(self, connection: "Connection") -> None:
        """Its caller has shown good credentials: it doesn't count any more."""
        if connection in self._unknown:
            del self._unknown[connection]
            mine = self._by_address[connection.address]
            del mine[connection]
            if not mine:
                del self._by_address[connection.address]

    def lost(self, connection: "Connection") -> None:
        self._all.discard(connection)
        self.trust(connection)

    def sweep(self, now: float) -> None:
        """Ends what has taken too long."""
        for connection in tuple(self._all):
            if (overdue := connection.overdue(now)) is not None:
                self.counting.ended(overdue)
                connection.abort()

    async def keep_swept(self, every_s: float = 1.0) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(every_s)
            self.sweep(loop.time())

    def _close(self, connection: "Connection", why: Ended) -> None:
        self.counting.ended(why)
        self.lost(connection)
        connection.abort()


class Connection(web.RequestHandler):
    """aiohttp's connection, with deadlines, and with problems for what isn't HTTP."""

    __slots__ = (
        "_blocked_since",
        "_certificate",
        "_closing_since",
        "_connections",
        "_header_since",
        "_socket",
        "address",
        "on_lost",
    )

    def __init__(self, connections: Connections, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._connections = connections
        self._socket: asyncio.Transport | None = None
        self._header_since: float | None = None
        self._blocked_since: float | None = None
        self._closing_since: float | None = None
        self.address = ""
        self._certificate: frozenset[str] | None = None
        #: Called when it is lost, while an answer goes on.
        self.on_lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)
        self.address = address_of((transport.get_extra_info("peername") or ("",))[0])
        _forget_the_vanished(transport, self._connections.limits.blocked_s)
        super().connection_made(transport)
        self._connections.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.lost(self)
        self._socket = None
        if self.on_lost is not None:
            self.on_lost()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_waiting():
            if self._header_since is None and data:
                self._header_since = self._loop.time()
        elif self._header_since is not None or self._messages:
            self._header_since = None
            self._connections.asked(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._blocked_since = self._loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._blocked_since = None

    def certificate_names(self) -> frozenset[str]:
        """Of the client certificate that the connection was made with; none where there was none."""
        if self._certificate is None:
            tls = None if self._socket is None else self._socket.get_extra_info("ssl_object")
            der = None if tls is None else tls.getpeercert(binary_form=True)
            self._certificate = frozenset() if der is None else names_of(der)
        return self._certificate

    @property
    def is_blocked(self) -> bool:
        """Whether the client doesn't take what was written."""
        return self._blocked_since is not None

    def trust(self) -> None:
        self._connections.trust(self)

    def overdue(self, now: float) -> Ended | None:
        """Which limit is over, if any: of the header, of an answer that isn't taken, or of closing."""
        limits = self._connections.limits
        if self._socket is not None and self._socket.is_closing() and self._closing_since is None:
            self._closing_since = now
        if self._is_waiting() and _over(self._header_since, limits.header_s, now):
            return "header"
        if _over(self._blocked_since, limits.blocked_s, now):
            return "blocked"
        return "closing" if _over(self._closing_since, limits.closing_s, now) else None

    def abort(self) -> None:
        if self._socket is not None:
            self._socket.abort()

    def _is_waiting(self) -> bool:
        """Whether no request is being handled."""
        return self._waiter is not None and not self._waiter.done()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What isn't HTTP, and what failed outside of every handler, as a problem; the connection closes."""
        if isinstance(exc, ConnectionError) and has_left(request):
            raise exc  # nobody is there to be answered
        if status >= 500:
            log.error("a connection failed", error=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun: there is no place for another")
        return self._refuse(_problem_of(status, exc))

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """What aiohttp refuses by itself, such as an Expect for a path that isn't there, is a problem too."""
        if isinstance(resp, web.HTTPException):
            resp = self._refuse(Problem(resp.status, resp.reason, "Expect" if resp.status == 417 else None))
        return await super().finish_response(request, resp, start_time)

    def _refuse(self, problem: Problem) -> web.Response:
        self._connections.counting.refused(problem.status, problem.reason)
        return problem.response(BareResponse)

    def log_exception(self, *args: Any, **options: Any) -> None:
        """Passes over the rest of a body that was answered without it, and can't be read."""
        if not isinstance(options.get("exc_info"), RequestPayloadError):
            super().log_exception(*args, **options)


def _over(since: float | None, limit_s: float, now: float) -> bool:
    return since is not None and now - since > limit_s


def _problem_of(status: int, error: BaseException | None) -> Problem:
    if isinstance(error, LineTooLong):
        if error.args[1] == MAX_REQUEST_LINE_BYTES:
            return Problem(414, f"the request line is longer than {MAX_REQUEST_LINE_BYTES} bytes")
        return Problem(431, f"a header is longer than {MAX_HEADER_BYTES} bytes")
    if isinstance(error, ContentEncodingError):
        return bad_coding()
    if status == 400 and "Too many headers" in str(error):
        return Problem(431, "there are too many headers")
    return Problem(status, "this is not an HTTP request" if status == 400 else "the gateway failed; it has been logged")


def connection_factory(server: web.Server, connections: Connections) -> Callable[[], Connection]:
    """Makes the protocol of each accepted connection."""
    loop = asyncio.get_running_loop()
    return lambda: Connection(
        connections,
        server,
        loop=loop,
        access_log=None,
        keepalive_timeout=connections.limits.idle_s,
        max_line_size=MAX_REQUEST_LINE_BYTES,
        max_field_size=MAX_HEADER_BYTES,
    )


def shown_certificate(request: web.BaseRequest) -> frozenset[str]:
    """The names of the client certificate that a call came with."""
    connection = request.protocol
    return connection.certificate_names() if isinstance(connection, Connection) else frozenset()


def _forget_the_vanished(transport: asyncio.BaseTransport, within_s: float) -> None:
    """A client that has vanished without a word, as a telephone does between two networks, takes what is written into
    the kernel's buffer for a quarter of an hour: meanwhile its streams would count as its user's. (Only Linux can.)"""
    connected = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if connected is not None and option is not None and connected.family in (socket.AF_INET, socket.AF_INET6):
        connected.setsockopt(socket.IPPROTO_TCP, option, round(1000 * within_s))
