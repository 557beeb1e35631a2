"""Pauses on a real broker: every worker obeys, whatever is killed, and the gateway shows what each of them sees."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from typer.testing import CliRunner

from app.cli.provider import app
from app.config import Settings
from app.dev import process
from tests.conftest import eventually
from tests.integration.gateway.conftest import KEYS, Caller, served

_LIMIT_S = 120
TWILIO = {
    "TOCSIN_PROVIDERS__TWILIO__ACCOUNT_SID": "AC" + "0" * 32,
    "TOCSIN_PROVIDERS__TWILIO__AUTH_TOKEN": "t" * 32,
    "TOCSIN_PROVIDERS__TWILIO__FROM": "+15005550006",
    "TOCSIN_PROVIDERS__TWILIO__BASE_URL": "http://127.0.0.1:9",  # nobody is called here
}

Start = Callable[[str], Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def start(environ: dict[str, str], tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a worker of sms with that instance's name."""
    running = []

    async def started(instance: str) -> asyncio.subprocess.Process:
        command = [sys.executable, "-m", "app.cli", "worker", "sms"]
        own = {**os.environ, **environ, **TWILIO, "TOCSIN_INSTANCE": instance}
        worker = await process.start(process.Program(f"sms-{instance}", command, own, tmp_path / f"{instance}.log"))
        running.append(worker)
        return worker

    yield started
    for worker in running:
        if worker.returncode is None:
            await process.stop(worker, 10)


async def twilio(gateway: Caller) -> dict[str, Any]:
    reply = await gateway.key("ops")("GET", "/v1/providers")
    assert reply.status == 200
    return next((each for each in reply.document["providers"] if each["provider"] == "twilio"), {"workers": []})


async def is_seen(gateway: Caller, **states: str) -> None:
    """Waits until these workers, and no others, see it so."""

    async def so_it_is() -> bool:
        found = {each["worker"]: each["state"] for each in (await twilio(gateway))["workers"]}
        return found == {f"sms/{instance}": state for instance, state in states.items()}

    await eventually(so_it_is, _LIMIT_S)


async def test_every_worker_obeys_a_pause_which_outlives_kill_9(
    gateway: Caller, settings: Settings, start: Start
) -> None:
    ops = gateway.key("ops")
    workers = {name: await start(name) for name in ("a", "b")}
    await is_seen(gateway, a="closed", b="closed")

    paused = await ops("POST", "/v1/providers/sms/pause", {"why": "ticket 4711"})
    assert (paused.status, paused.document) == (202, {"providers": ["twilio", "vonage", "sns"], "paused": True})
    await is_seen(gateway, a="paused", b="paused")
    view = await twilio(gateway)
    assert (view["state"], view["why"], view["paused_by"]) == ("paused", "ticket 4711", "ops")

    workers["a"].send_signal(signal.SIGKILL)
    await workers["a"].wait()
    await is_seen(gateway, b="paused")  # what a dead one said ages out
    await start("a")
    await is_seen(gateway, a="paused", b="paused")
    async with served(settings) as url, aiohttp.ClientSession() as session:
        other = Caller(session, url)
        assert (await twilio(other))["since"] == view["since"]
        resumed = await other.key("ops")("POST", "/v1/providers/twilio/resume", {"why": "fixed"})
        assert resumed.status == 202
    for instance in ("a", "b"):
        await eventually(partial(_is_called, gateway, instance), _LIMIT_S)
    log = (await ops("GET", "/v1/audit-log", query={"action": "provider"})).document["entries"]
    assert [(entry["action"], entry["what"]) for entry in log[:2]] == [
        ("provider.resume", "twilio: fixed"),
        ("provider.pause", "sms: ticket 4711"),
    ]
    assert (await ops("POST", "/v1/providers/sms/resume")).status == 202


async def _is_called(gateway: Caller, instance: str) -> bool:
    states = {each["worker"]: each["state"] for each in (await twilio(gateway))["workers"]}
    return states.get(f"sms/{instance}") in ("recovering", "closed")


async def test_the_command_line_pauses_lists_and_resumes(
    gateway: Caller, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TOCSIN_GATEWAY__PUBLIC_URL", gateway.url)
    monkeypatch.setenv("TOCSIN_API_KEY", KEYS["ops"][0])

    async def run(*arguments: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, arguments)

    assert (await run("pause", "fcm")).exit_code == 2
    assert "fcm" in (await run("pause", "fcm", "--why", "ticket 4711")).output
    shown, as_json = await run("list"), await run("list", "--json")
    assert "ticket 4711" in shown.output
    assert '"paused_by": "ops"' in as_json.output
    unknown = await run("pause", "carrier-pigeon", "--why", "x")
    assert unknown.exit_code == 1
    assert str(unknown.exception).startswith("provider: ")
    assert (await run("resume", "fcm")).exit_code == 0
    assert "ticket 4711" not in (await run("list")).output


REFUSED = {
    "an unknown name": ("carrier-pigeon", {"why": "x"}, 404, "provider"),
    "who isn't called": ("inbox", {"why": "x"}, 422, "provider"),
    "no reason": ("fcm", {}, 400, "why"),
    "an empty reason": ("fcm", {"why": ""}, 400, "why"),
    "a blank reason": ("fcm", {"why": "  "}, 400, "why"),
    "two lines": ("fcm", {"why": "a\nb"}, 400, "why"),
    "201 characters": ("fcm", {"why": "x" * 201}, 400, "why"),
    "a number": ("fcm", {"why": 7}, 400, "why"),
}


@pytest.mark.parametrize("said", REFUSED.values(), ids=REFUSED)
async def test_what_is_refused_names_the_field_and_pauses_nothing(
    gateway: Caller, said: tuple[str, dict[str, Any], int, str]
) -> None:
    name, body, status, field = said
    reply = await gateway.key("ops")("POST", f"/v1/providers/{name}/pause", body)

    assert (reply.status, reply.document["field"]) == (status, field)
    assert not any(each["paused"] for each in (await gateway.key("ops")("GET", "/v1/providers")).document["providers"])


async def test_only_admins_pause(gateway: Caller) -> None:
    for caller in (gateway.key("shop"), gateway.user("ada"), gateway):
        assert (await caller("POST", "/v1/providers/fcm/pause", {"why": "x"})).status in (401, 403)
        assert (await caller("GET", "/v1/providers")).status in (401, 403)
