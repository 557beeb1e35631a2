"""Headers of every answer of the gateway, an operations port and the sandbox, be it a page, an error or no HTTP at all;
and what a page of another site may not do at the sandbox."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry
from yarl import URL

from app.api.server import routes
from app.config import Operations
from app.operations import OperationsServer, ServedState
from app.sandbox.callbacks.sending import Callbacks
from app.sandbox.control import control_app
from app.sandbox.faults import Faults
from app.sandbox.journal import Journal
from app.sandbox.serving import Options, running
from tests.security.conftest import Opening, opened

OTHERS = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Host": "rebound.evil.example"},
]
Sandbox = TestClient[web.Request, web.Application]


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    journal = Journal(tmp_path)
    async with TestClient(TestServer(control_app(journal, Faults(), {}, Callbacks(tmp_path, {}, "")))) as client:
        yield client
    journal.close()


@dataclass(frozen=True, slots=True)
class Server:
    """Where one listens, and each of its routes."""

    url: str
    routes: list[tuple[str, str]]


class NoState:
    async def read(self, *_: Any) -> None:
        return None


@asynccontextmanager
async def gateway(_: Path) -> AsyncIterator[Server]:
    async with opened() as door:
        served = [(route.method, re.sub(r"\{\w+\}", "ada", route.path)) for route in routes(None)]
        preflight = ("OPTIONS", "/v1/policy")
        yield Server(f"http://{door.host}:{door.port}", [*served, preflight])


@asynccontextmanager
async def operations(folder: Path) -> AsyncIterator[Server]:
    state = ServedState(NoState(), b"s" * 32, lambda: 0)
    server = OperationsServer(role="router", problem=lambda: None, registry=CollectorRegistry(), state=state)
    await server.start(Operations(), folder)
    try:
        paths = ("/health/live", "/health/ready", "/metrics", "/state/profile")
        yield Server(server.url, [("GET", path) for path in paths])
    finally:
        await server.stop()


@asynccontextmanager
async def sandbox_alone(folder: Path) -> AsyncIterator[Server]:
    (folder / "routes").mkdir()
    journal = Journal(folder / "routes")
    served = [
        (route.method, (route.resource.canonical if route.resource else "/").replace("{id}", "1"))
        for route in control_app(journal, Faults(), {}, Callbacks(folder, {}, "")).router.routes()
    ]
    journal.close()
    async with running(Options(folder)) as sandbox:
        yield Server(sandbox.control_url, [*served, ("GET", "/accepted?limit=x")])


Serving = Callable[[Path], AbstractAsyncContextManager[Server]]
every_server = pytest.mark.parametrize("serving", [gateway, operations, sandbox_alone])
NO_HTTP = {
    "words": b"no http\r\n\r\n",
    "version": b"GET / HTTP/9\r\n\r\n",
    "header": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
}


def check(headers: Any, kept: str = "no-store") -> None:
    assert "Server" not in headers
    assert "X-Powered-By" not in headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"].startswith(kept)
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    for directive in ("frame-ancestors", "base-uri", "form-action"):
        assert f"{directive} 'none'" in headers["Content-Security-Policy"]


@every_server
async def test_every_answer_has_them(serving: Serving, tmp_path: Path) -> None:
    async with serving(tmp_path) as server, aiohttp.ClientSession() as session:
        assert len(server.routes) >= 4
        wrong = [("GET", "/nowhere"), ("PROPFIND", server.routes[0][1]), ("GET", "/%ff/..%2f")]
        for method, path in [*server.routes, *wrong]:
            async with session.request(method, URL(server.url + path, encoded=True)) as response:
                is_file = path.startswith("/web/") and response.status == 200  # (the same for everybody)
                check(response.headers, "public, max-age=3600" if is_file else "no-store")
        async with session.get(server.url + server.routes[0][1], headers={"Expect": "a teapot"}) as response:
            assert response.status == 417
            check(response.headers)


@every_server
@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP.keys())
async def test_what_is_no_http_is_answered_with_them(serving: Serving, sent: bytes, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        url = URL(server.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(sent)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        writer.close()

    assert head.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
    check(dict(re.findall(r"^([\w-]+): (.*)\r$", head.decode(), re.MULTILINE)))


@pytest.mark.parametrize("path", ["/nowhere", "/v1/users//activity", "/v1/policy"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_what_nobody_can_expect_is_a_problem_on_every_path(open_door: Opening, path: str, method: str) -> None:
    async with open_door() as door:
        reply = await door.call(method, path, Expect="a teapot")

    assert (reply.status, reply.headers["Content-Type"]) == (417, "application/problem+json")
    check(reply.headers)


@pytest.mark.parametrize("headers", OTHERS, ids=str)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/faults"), ("DELETE", "/faults"), ("DELETE", "/faults/1"), ("GET", "/accepted")]
)
async def test_the_sandbox_refuses_what_pages_of_other_sites_send(
    sandbox: Sandbox, headers: dict[str, str], method: str, path: str
) -> None:
    assert (await sandbox.request(method, path, headers=headers)).status == 403


async def test_the_sandbox_answers_its_own_page_and_those_that_are_no_browser(sandbox: Sandbox) -> None:
    own = str(sandbox.make_url("")).rstrip("/")
    assert (await sandbox.delete("/faults")).status == 200
    assert (await sandbox.delete("/faults", headers={"Origin": own, "Sec-Fetch-Site": "same-origin"})).status == 200
    for host in ("localhost:1", "sandbox:8080", "[::1]:8080"):
        assert (await sandbox.get("/health", headers={"Host": host})).status == 200
