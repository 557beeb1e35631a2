"""HTTP/1.1 as a server speaks it, by aiohttp."""

import asyncio

from aiohttp import web

from app.sandbox.exchange import Reply, Request
from app.sandbox.http2 import Take


class _Exchange:
    """The caller of one request."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def reply(self, reply: Reply) -> None:
        if not self.answer.done():  # cancelled: the client has left
            self.answer.set_result(reply)

    def reset(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()


def http1_server(take: Take) -> web.Server:
    """Makes the protocols of accepted connections. A request that is never answered lasts as long as its connection."""

    async def handle(raw: web.BaseRequest) -> web.StreamResponse:
        path, _, query = raw.raw_path.partition("?")
        headers = tuple((name.lower(), value) for name, value in raw.headers.items())
        body = await raw.content.read()
        exchange = _Exchange(raw)
        take(Request(raw.method, path, query, headers, body, raw.host), exchange)
        reply = await exchange.answer
        return web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))

    return web.Server(handle, handler_cancellation=True, access_log=None)
