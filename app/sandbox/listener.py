"""One provider's TLS port: HTTP/2 or HTTP/1.1, as the client and ALPN choose."""

import asyncio
import errno
import socket
import ssl
import weakref
from collections.abc import Callable
from typing import cast

from aiohttp import web

from app.sandbox.desk import Desk
from app.sandbox.exchange import Caller, Request, Vendor
from app.sandbox.http1 import http1_server
from app.sandbox.http2 import Http2


def bound_socket(host: str, port: int, *, insist: bool = False) -> socket.socket:
    """A socket at the wished port; at any free one if that is taken, unless one insists (then OSError)."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        if insist or error.errno not in (errno.EADDRINUSE, errno.EACCES):
            sock.close()
            raise OSError(error.errno, f"can't listen on {host}:{port}: {error.strerror}") from error
        sock.bind((host, 0))
    return sock


class _Greeting(asyncio.Protocol):
    """Hands a fresh connection over to the protocol that was agreed on."""

    def __init__(self, choose: Callable[[str | None], asyncio.Protocol]) -> None:
        self._choose = choose

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        protocol = self._choose(transport.get_extra_info("ssl_object").selected_alpn_protocol())
        cast(asyncio.Transport, transport).set_protocol(protocol)
        protocol.connection_made(transport)


class Listener:
    """Open from ``open`` to ``close``; brings each request to the desk."""

    def __init__(self, vendor: Vendor, desk: Desk) -> None:
        self._vendor = vendor
        self._desk = desk
        self._server: asyncio.Server | None = None
        self._http1: web.Server | None = None
        self._http2: weakref.WeakSet[Http2] = weakref.WeakSet()

    async def open(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._http1 = http1_server(self._take)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Greeting(self._protocol), sock=sock, ssl=context, backlog=1024)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._http2):
            connection.say_goodbye()
        if self._http1 is not None:
            await self._http1.shutdown(timeout=0.2)

    def _take(self, request: Request, caller: Caller) -> None:
        self._desk.take(self._vendor, request, caller)

    def _protocol(self, agreed: str | None) -> asyncio.Protocol:
        if (agreed or self._vendor.protocols[0]) == "h2":
            connection = Http2(self._take)
            self._http2.add(connection)
            return connection
        assert self._http1 is not None
        return self._http1()
