"""The receiver of examples/ takes what Tocsin sends, once, and nothing that others send."""

import asyncio
import sys
from pathlib import Path

from agents.hooks.calling import HookCaller
from app.domain.hooks import Answer, body_of, new_secret
from tests.unit.store.conftest import event

EXAMPLE = Path(__file__).parents[3] / "examples" / "hook_receiver.py"
SECRET = new_secret(b"r" * 24)


async def test_the_receiver_prints_each_event_once_and_refuses_other_senders() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLE, "--secret", SECRET, "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    caller = HookCaller(("127.0.0.1",))
    sent, failed = event("sent", user_id="ada"), event("failed", user_id="bob")
    try:
        async with asyncio.timeout(60):
            url = (await process.stdout.readline()).decode().split()[-1]
            for each in (sent, sent, failed):
                assert await caller.call(url, SECRET, each.event_id, body_of(each)) == Answer("ok")
            other = await caller.call(url, new_secret(b"x" * 24), "e", b"{}")
            printed = [(await process.stdout.readline()).decode().split() for _ in range(2)]
    finally:
        process.kill()
        await process.wait()
        await caller.close()
    assert other.outcome == "failed"
    assert printed == [["notification.sent", "ada", "n"], ["notification.failed", "bob", "n"]]
