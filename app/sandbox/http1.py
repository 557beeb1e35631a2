"""HTTP/1.1 as a server speaks it, by aiohttp."""

import asyncio

from aiohttp import web

from app.sandbox.exchange import DROP_S, Reply, Request, drops
from app.sandbox.http2 import Take


class _Exchange:
    """The caller of one request."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.keep_alive = True

    def reply(self, reply: Reply) -> None:
        if not self.answer.done():  # cancelled: the client has left
            self.answer.set_result(reply)

    def reset(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()

    def doom(self) -> int:
        return 0  # one request at a time

    def reset_stream(self, *, refused: bool) -> None:
        self.reset()

    def say_goaway(self) -> None:
        self.keep_alive = False

    def limit_streams(self, count: int) -> None:
        pass


def http1_server(take: Take) -> web.Server:
    """Makes the protocols of accepted connections. A request that is never answered lasts as long as its connection."""

    async def handle(raw: web.BaseRequest) -> web.StreamResponse:
        path, _, query = raw.raw_path.partition("?")
        headers = tuple((name.lower(), value) for name, value in raw.headers.items())
        body = await raw.content.read()
        exchange = _Exchange(raw)
        take(Request(raw.method, path, query, headers, body, raw.host), exchange)
        reply = await exchange.answer
        response: web.StreamResponse
        if reply.bytes_per_s is None:
            response = web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))
        else:
            response = await _drip(raw, reply, reply.bytes_per_s)
        if not exchange.keep_alive:
            response.force_close()
        return response

    return web.Server(handle, handler_cancellation=True, access_log=None)


async def _drip(request: web.BaseRequest, reply: Reply, bytes_per_s: int) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
    response.content_length = len(reply.body)
    await response.prepare(request)
    for piece in drops(reply.body, bytes_per_s):
        await asyncio.sleep(DROP_S)
        await response.write(piece)
    await response.write_eof()
    return response
