"""A caller who leaves before the answer is whole costs a line in the log, and no traceback."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from app.api.connections import ConnectionLimits, Connections, connection_factory
from app.api.limits import Limits
from app.api.pages import Pages
from app.api.room import Room
from app.api.server import _problems
from app.config import Branding

_WAIT_S = 30


async def logged(*, caller_leaves: bool) -> list[Any]:
    """What is logged of an answer that fails when it has begun."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            await response.write(b"begun")
            begun.set()
            while caller_leaves:
                await response.write(b"more")
                await asyncio.sleep(0.01)
            raise ConnectionError("to something else")
        finally:
            ended.set()

    async with asyncio.timeout(_WAIT_S):
        middleware = _problems(Limits(Room(), 1e9, lambda: 0.0), lambda *_: None, Pages(Branding(name="Air")))
        app = web.Application(middlewares=[middleware])
        app.router.add_get("/", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        assert runner.server is not None
        factory = connection_factory(runner.server, Connections(ConnectionLimits()))
        server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
        with capture_logs() as lines:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await begun.wait()
            if caller_leaves:
                writer.transport.abort()
            await ended.wait()
            server.close()
            await runner.cleanup()
        writer.close()
    return lines


@pytest.mark.parametrize("caller_leaves", [True, False])
async def test_only_what_fails_for_another_reason_is_logged_as_a_failure(caller_leaves: bool) -> None:
    lines = await logged(caller_leaves=caller_leaves)

    failures = [line for line in lines if line["log_level"] == "error" or "exc_info" in line]
    assert bool(failures) is not caller_leaves
    assert ("a caller left before its answer was whole" in [line["event"] for line in lines]) is caller_leaves
