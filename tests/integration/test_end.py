"""A worker whose consumer's thread has died comes to an end all the same, as only then it is started again."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.inbox.machine import InAppMachine
from app.config import Kafka
from app.dev import process
from app.dev.process import Program
from app.dev.system import operations_ready
from app.store import topics as declared_topics
from tests.conftest import eventually

#: ``tocsin``, but when its pipe is written to the thread of its group's member ends as by a stray cancellation, and
#: closes its loop.
MORTAL = """
import asyncio, sys, threading
from app.cli import main

def end_the_thread(pipe):
    open(pipe).read()
    [thread] = [each for each in threading.enumerate() if type(each).__name__ == "WorkerThread"]
    loop = thread.service.thread_loop
    serving = next(task for task in asyncio.all_tasks(loop) if task.get_coro().__name__ == "_serve")
    loop.call_soon_threadsafe(serving.cancel)

threading.Thread(target=end_the_thread, args=(sys.argv.pop(1),), daemon=True).start()
main()
"""


@pytest.fixture
async def worker(kafka: str, tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker of the inbox, ready; it writes to ``worker.log``."""
    await declared_topics.apply(Kafka(bootstrap=kafka), {"in_app": InAppMachine.tables})
    environ = {**os.environ, "TOCSIN_KAFKA__BOOTSTRAP": kafka, "TOCSIN_DATA__DIR": str(tmp_path)}
    os.mkfifo(tmp_path / "pipe")
    command: list[str | Path] = [sys.executable, "-c", MORTAL, tmp_path / "pipe", "worker", "in_app"]
    started = await process.start(Program("worker", command, environ, tmp_path / "worker.log"))
    try:
        ready = operations_ready(tmp_path / "in_app-1")
        await eventually(lambda: ready(started.pid), 120)
        yield started
    finally:
        await process.stop(started, 10)


async def test_a_worker_whose_consumer_thread_died_ends(worker: asyncio.subprocess.Process, tmp_path: Path) -> None:
    (tmp_path / "pipe").write_text("now")

    code = await asyncio.wait_for(worker.wait(), 180)

    log = (tmp_path / "worker.log").read_text()
    assert code == 1, log
    assert "WorkerFailed" in log
    assert "Stalled" not in log  # its death was noticed, not what stands still for want of it
