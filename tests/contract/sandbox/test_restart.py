"""What a sandbox keeps over a restart, and how it ends."""

import asyncio
import json
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import eventually
from tests.contract.sandbox import clients
from tests.contract.sandbox.clients import new_id, push
from tests.contract.sandbox.process import LIMIT_S, RunningSandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[RunningSandbox]:
    """One of each test's own, since these tests end it."""
    running = RunningSandbox(tmp_path / "sandbox")
    running.start()
    yield running
    if running.is_running:
        running.stop()


async def send(sandbox: RunningSandbox, send_id: str) -> None:
    async with clients.apns(sandbox) as client:
        assert (await client.send_notification(push(send_id))).is_successful


@pytest.mark.parametrize("kill", [False, True])
async def test_a_restart_keeps_ports_credentials_and_what_was_accepted(sandbox: RunningSandbox, kill: bool) -> None:
    before, after = new_id(), new_id()
    await send(sandbox, before)
    described = (sandbox.control_url, sandbox.providers, sandbox.env)
    account = Path(sandbox.providers["fcm"]["service_account_file"]).read_bytes()

    sandbox.stop(kill=kill)
    sandbox.start()
    await send(sandbox, after)

    assert (sandbox.control_url, sandbox.providers, sandbox.env) == described
    assert Path(sandbox.providers["fcm"]["service_account_file"]).read_bytes() == account
    assert [(m["seq"], m["send_id"]) for m in await sandbox.accepted()] == [(1, before), (2, after)]
    _, stats = await sandbox.request("GET", "/stats")
    assert stats["providers"]["apns"]["accepted"] == 2


async def test_a_copy_after_a_restart_is_counted_as_a_duplicate(sandbox: RunningSandbox) -> None:
    send_id = new_id()
    await send(sandbox, send_id)
    sandbox.stop()
    sandbox.start()
    await send(sandbox, send_id)

    _, stats = await sandbox.request("GET", "/stats")
    assert stats["duplicates"] == {"count": 1, "send_ids": [{"send_id": send_id, "copies": 2}]}


async def test_a_taken_port_is_replaced_and_told(sandbox: RunningSandbox) -> None:
    old = sandbox.providers["apns"]["port"]
    sandbox.stop()
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", old))
        squatter.listen()
        sandbox.start()

        assert sandbox.providers["apns"]["port"] != old
        await send(sandbox, new_id())


def test_two_sandboxes_cannot_share_a_folder(sandbox: RunningSandbox) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "app.sandbox", "--dir", str(sandbox.dir)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert second.returncode == 1
    assert "another sandbox runs in" in second.stderr


def test_a_taken_control_port_is_an_error_when_it_was_asked_for(tmp_path: Path) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        refused = subprocess.run(
            [sys.executable, "-m", "app.sandbox", "--dir", str(tmp_path / "other"), "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    assert refused.returncode == 1
    assert f"127.0.0.1:{port}" in refused.stderr


@clients.TWILIO_WARNINGS
async def test_sigterm_ends_it_though_a_call_hangs(sandbox: RunningSandbox) -> None:
    await sandbox.fault(provider="*", action="hang")
    async with clients.apns(sandbox) as push_client, clients.twilio(sandbox) as sms_client:
        number = sandbox.providers["twilio"]["from"]
        waiting = [
            asyncio.ensure_future(push_client.send_notification(push(new_id()))),
            asyncio.ensure_future(sms_client.messages.create_async(to="+14155550123", from_=number, body="hello")),
        ]
        await sandbox.until_called(provider="apns")
        await sandbox.until_called(provider="twilio")

        assert await asyncio.to_thread(sandbox.stop) == 0
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_full_disk_ends_it_before_anyone_is_answered(sandbox: RunningSandbox) -> None:
    sandbox.stop()
    limit = 64 << 10
    sandbox.start(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    answered: list[str] = []

    async def send_until_it_ends() -> None:
        async with clients.apns(sandbox) as client:
            while True:
                send_id = new_id()
                await client.send_notification(push(send_id))
                answered.append(send_id)

    async def has_ended() -> bool:
        return not sandbox.is_alive

    sending = asyncio.ensure_future(send_until_it_ends())
    await eventually(has_ended)
    sending.cancel()
    status, errors = sandbox.ended()

    assert status == 1
    assert "File too large" in errors
    lines = (sandbox.dir / "accepted.jsonl").read_bytes().split(b"\n")[:-1]
    assert answered
    assert set(answered) <= {json.loads(line)["send_id"] for line in lines}
