"""Headers of every answer, at the gateway and at the sandbox; and what a page of another site may not do there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from app.api.server import routes
from app.sandbox.control import control_app
from app.sandbox.faults import Faults
from app.sandbox.journal import Journal
from tests.security.conftest import Opening

OTHERS = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Host": "rebound.evil.example"},
]
Sandbox = TestClient[object, object]  # type: ignore[type-arg]


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    journal = Journal(tmp_path)
    async with TestClient(TestServer(control_app(journal, Faults(), {}))) as client:
        yield client  # type: ignore[misc]
    journal.close()


def check(headers: dict[str, str]) -> None:
    assert "Server" not in headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


async def test_every_route_of_the_gateway_answers_with_them(open_door: Opening) -> None:
    async with open_door() as door:
        for route in routes(None):
            check((await door.call(route.method, route.path.replace("{id}", "ada"))).headers)
        check((await door.call("GET", "/nowhere")).headers)
        check((await door.call("OPTIONS", "/v1/policy", Origin="https://app.example")).headers)


@pytest.mark.parametrize("path", ["/nowhere", "/v1/users//activity", "/v1/policy"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_what_nobody_can_expect_is_a_problem_on_every_path(open_door: Opening, path: str, method: str) -> None:
    async with open_door() as door:
        reply = await door.call(method, path, Expect="a teapot")

    assert (reply.status, reply.headers["Content-Type"]) == (417, "application/problem+json")
    check(reply.headers)


@pytest.mark.parametrize("path", ["/", "/health", "/faults", "/nowhere", "/accepted?limit=x"])
async def test_every_answer_of_the_sandbox_has_them(sandbox: Sandbox, path: str) -> None:
    check(dict((await sandbox.get(path)).headers))


@pytest.mark.parametrize("headers", OTHERS, ids=str)
@pytest.mark.parametrize(("method", "path"), [("POST", "/faults"), ("DELETE", "/faults"), ("GET", "/accepted")])
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
