"""A child process is stopped, whatever it is doing."""

import os
import signal
import sys
from pathlib import Path

from app.dev import process
from app.dev.process import Program


async def test_what_has_ended_by_itself_can_be_stopped_and_sent_signals(tmp_path: Path) -> None:
    ended = await process.start(Program("short", (sys.executable, "-c", ""), os.environ, tmp_path / "short.log"))
    await ended.wait()

    process.send(ended, signal.SIGKILL)
    await process.stop(ended, patience_s=5)

    assert ended.returncode == 0
