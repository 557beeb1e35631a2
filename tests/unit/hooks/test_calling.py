"""A call of a hook, over the wire: to whom, what is taken for an answer, and that it ends."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks.webhooks import Webhook

from agents.hooks import calling
from agents.hooks.calling import HookCaller
from app.domain.hooks import Answer, new_secret

SECRET = new_secret(b"r" * 24)
HERE = ("127.0.0.1", "hooks.example")
Handler = Callable[[web.Request], Any]


@asynccontextmanager
async def receiver(handler: Handler) -> AsyncIterator[TestServer]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    server = TestServer(app)
    async with server:
        yield server


async def called(handler: Handler, url: str = "http://127.0.0.1:{port}/x", allowed: tuple[str, ...] = HERE) -> Answer:
    async with receiver(handler) as server:
        caller = HookCaller(allowed)
        try:
            return await caller.call(url.format(port=server.port), SECRET, "e1", b'{"a":1}')
        finally:
            await caller.close()


async def test_a_receiver_gets_what_the_specifications_library_verifies() -> None:
    seen: list[Any] = []

    async def take(request: web.Request) -> web.Response:
        seen.append(Webhook(SECRET).verify(await request.read(), dict(request.headers)))
        assert request.method == "POST"
        assert request.content_type == "application/json"
        assert request.headers["webhook-id"] == "e1"
        assert not {"Cookie", "Authorization"} & set(request.headers)
        return web.Response(status=204, headers={"Set-Cookie": "a=b"})

    assert await called(take) == Answer("ok")
    assert seen == [{"a": 1}]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "ok"), (202, "ok"), (299, "ok"), (410, "gone")]
    + [(status, "failed") for status in (301, 302, 307, 400, 401, 404, 429, 500, 503)],
)
async def test_only_2xx_is_a_success_and_410_ends_it(status: int, outcome: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    assert (await called(answer)).outcome == outcome


async def test_a_redirect_is_not_followed() -> None:
    paths: list[str] = []

    async def away(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    assert (await called(away)).outcome == "failed"
    assert paths == ["/x"]


@pytest.mark.parametrize(("value", "seconds"), [("120", 120.0), ("x", None), ("-1", None), ("9" * 400, None)])
async def test_retry_after_is_taken_where_it_is_seconds(value: str, seconds: float | None) -> None:
    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": value})

    assert (await called(busy)).retry_after_s == seconds


@pytest.mark.parametrize("hangs", ["before the answer", "in its body"])
async def test_a_receiver_that_hangs_is_left(hangs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "CALL_S", 0.2)
    over = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if hangs == "in its body":
            await response.prepare(request)
        await over.wait()
        return response

    async with receiver(hang) as server:
        caller = HookCaller(HERE)
        answer = await caller.call(f"http://127.0.0.1:{server.port}/x", SECRET, "e1", b"{}")
        over.set()
        await caller.close()
    assert answer.outcome == "failed"


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"x" * 65536)
        return response

    assert (await called(endless)).outcome == "ok"


async def test_a_receiver_that_speaks_no_http_has_failed() -> None:
    async def noise(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x01SSH-2.0-x\r\n" * 100)
        writer.close()

    server = await asyncio.start_server(noise, "127.0.0.1", 0)
    caller = HookCaller(HERE)
    port = server.sockets[0].getsockname()[1]
    assert (await caller.call(f"http://127.0.0.1:{port}/", SECRET, "e1", b"{}")).outcome == "failed"
    server.close()
    assert (await caller.call(f"http://127.0.0.1:{port}/", SECRET, "e1", b"{}")).outcome == "failed"
    await caller.close()


# --- addresses ---


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "0.0.0.0"])
async def test_an_address_that_is_not_public_is_not_called(host: str) -> None:
    caller = HookCaller()
    assert (await caller.call(f"https://{host}/x", SECRET, "e1", b"{}")).outcome == "refused"
    await caller.close()


async def test_plain_http_is_called_only_where_it_is_allowed() -> None:
    caller = HookCaller()
    assert (await caller.call("http://example.com/x", SECRET, "e1", b"{}")).outcome == "refused"
    await caller.close()


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Every name has these addresses; which names were looked up."""
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


async def test_a_public_name_with_a_private_address_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolving(monkeypatch, "127.0.0.1", "10.1.2.3")
    caller = HookCaller()
    answer = await caller.call("https://rebinding.example/x", SECRET, "e1", b"{}")
    await caller.close()

    assert (answer.outcome, asked) == ("refused", ["rebinding.example"])


async def test_a_name_is_looked_up_once_for_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first look-up answered is called, whatever a second one would answer."""
    asked = resolving(monkeypatch, "127.0.0.1")
    hosts: list[str] = []

    async def take(request: web.Request) -> web.Response:
        hosts.append(request.host)
        return web.Response()

    async with receiver(take) as server:
        caller = HookCaller(("hooks.example",))
        answer = await caller.call(f"http://hooks.example:{server.port}/x", SECRET, "e1", b"{}")
        await caller.close()

        assert (answer.outcome, asked) == ("ok", ["hooks.example"])
        assert hosts == [f"hooks.example:{server.port}"]
