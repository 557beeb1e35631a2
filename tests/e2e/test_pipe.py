"""The whole pipe on real parts: a first notification by HTTP, and real flights while every process is killed once."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from rich.console import Console

from app.demo.performance import perform
from app.dev.system import DevSystem, Options
from app.dev.welcome import curl_line
from tests.conftest import eventually

_REPOSITORY = Path(__file__).parents[2]
#: On a busy machine; nothing is judged by how long it takes.
_LIMIT_S = 240.0
_ROLES = ("gateway", "router", "push", "email", "sms", "in_app", "analytics")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevSystem]:
    options = Options(folder=tmp_path_factory.mktemp("pipe") / "dev", jars=_REPOSITORY / ".tocsin" / "kafka")
    system = DevSystem(options)
    await system.start()
    await system.wait_ready()
    yield system
    await system.stop()


async def run(system: DevSystem, *arguments: str) -> str:
    """What a command of ours prints; it has to end well."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app.cli",
        *arguments,
        cwd=_REPOSITORY,
        env={**system.environment, "TOCSIN_API_KEY": system.state.api_keys["admin"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def in_sandbox(system: DevSystem, notification_id: str) -> list[dict[str, Any]]:
    url = f"{system.state.sandbox_url}/accepted"
    async with aiohttp.ClientSession() as http, http.get(url, params={"notification_id": notification_id}) as response:
        found: list[dict[str, Any]] = (await response.json())["accepted"]
        return found


async def api(system: DevSystem, method: str, path: str, key: str = "admin", **json_body: Any) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {system.state.api_keys[key]}"}
    url = system.state.gateway_url + path
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, url, headers=headers, json=json_body or None) as response,
    ):
        body = await response.read()
        return response.status, json.loads(body) if body else None


async def test_the_pasted_curl_line_ends_in_the_inbox(system: DevSystem) -> None:
    pasted = await asyncio.create_subprocess_shell(curl_line(system.state), stdout=subprocess.PIPE)
    answer = json.loads((await pasted.communicate())[0])

    async def is_done() -> bool:
        status, body = await api(system, "GET", f"/v1/notifications/{answer['notification_id']}", "demo")
        return status == 200 and body["status"] == "done"

    assert answer["status"] == "accepted"
    await eventually(is_done, _LIMIT_S)


async def test_a_mail_is_seen_in_the_sandbox_in_clickhouse_and_by_why(system: DevSystem) -> None:
    status, _ = await api(system, "PATCH", "/v1/users/ada/profile", email="ada@example.com", email_verified=True)
    assert status == 200
    _, accepted = await api(
        system,
        "POST",
        "/v1/notifications",
        "demo",
        user_id="ada",
        event_type="hello.world",
        channels=["email"],
        content={"title": "Hi", "body": "By mail."},
    )
    name = accepted["notification_id"]

    async def is_in_the_mailbox() -> bool:
        return len(await in_sandbox(system, name)) == 1

    async def is_in_clickhouse() -> bool:
        sql = f"SELECT status FROM notifications WHERE notification_id = '{name}' AND channel = 'email'"
        return '"sent"' in await run(system, "query", sql, "--json")

    await eventually(is_in_the_mailbox, _LIMIT_S)
    await eventually(is_in_clickhouse, _LIMIT_S)
    assert (await in_sandbox(system, name))[0]["subject"] == "Hi"
    assert "sent" in await run(system, "why", name, "--user", "ada")


async def test_real_flights_keep_the_balance_while_every_process_is_killed_once(system: DevSystem) -> None:
    async def kill_each() -> None:
        for name in _ROLES:
            restarts = system.processes[name].restarts
            system.kill(name)
            await eventually(lambda name=name, before=restarts: is_back(name, before), _LIMIT_S)  # type: ignore[misc]

    async def is_back(name: str, before: int) -> bool:
        return system.processes[name].restarts > before

    performance = asyncio.create_task(perform(system.state, Console(quiet=True), speed=6000, per_flight=1, seed=8))
    await kill_each()
    verdict = await performance

    assert verdict.faults == []
