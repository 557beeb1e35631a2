"""What Tocsin's HTTP servers have in common: the headers of every answer, and no server's name, also where what came
isn't HTTP and no application is asked."""

import asyncio
import json
from typing import Any

from aiohttp import web

#: Of every answer that doesn't say otherwise: nobody keeps it, guesses its type, or runs what it holds.
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def add_security_headers(_: web.Request, response: web.StreamResponse) -> None:
    """A signal for ``on_response_prepare``."""
    response.headers.popall("Server", None)
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)


class BareResponse(web.Response):
    """An answer that doesn't go through an application, and so not through its signals; the connection closes."""

    async def _prepare_headers(self) -> None:
        self.force_close()  # before the headers, so that they say so
        await super()._prepare_headers()
        self.headers.popall("Server", None)
        self.headers.update(SECURITY_HEADERS)


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        super().handle_error(request, status, exc, message)  # logs it, and refuses where an answer has begun
        detail = "this is not an HTTP request" if status == 400 else "the server failed; it has been logged"
        return BareResponse(text=json.dumps({"detail": detail}), status=status, content_type="application/json")


async def listen(runner: web.AppRunner, **where: Any) -> asyncio.Server:
    """Serves a runner that was set up, as aiohttp's sites do. Close what is returned before ``runner.cleanup()``.

    ``where``: what ``loop.create_server`` takes, such as host and port, or a socket.
    """
    server, loop = runner.server, asyncio.get_running_loop()
    assert server is not None
    quiet: dict[str, Any] = {"access_log": None}
    return await loop.create_server(lambda: _Connection(server, loop=loop, **quiet), backlog=128, **where)
