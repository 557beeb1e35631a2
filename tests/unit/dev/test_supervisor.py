"""Programs are kept running, and none is left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from app.dev.process import Program
from app.dev.supervisor import Change, NotReady, Supervisor
from tests.conftest import eventually

SLEEPS = "import time; time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
FAILS = "import sys; sys.exit('no such setting')"


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    supervised = Supervisor()
    yield supervised
    await supervised.stop()


def python(tmp_path: Path, code: str, name: str = "program") -> Program:
    return Program(name, (sys.executable, "-c", code), os.environ, tmp_path / "logs" / f"{name}.log")


async def always_ready(pid: int) -> bool:
    return True


async def never_ready(pid: int) -> bool:
    return False


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def test_a_program_that_dies_is_started_again_and_counted(tmp_path: Path) -> None:
    seen: list[Change] = []
    supervisor = Supervisor(seen.append)
    supervisor.add(python(tmp_path, SLEEPS), always_ready)
    await supervisor.wait_ready(20)
    program = supervisor.processes["program"]
    first = program.pid

    program.kill()

    async def runs_again() -> bool:
        return program.restarts == 1 and program.pid not in (None, first)

    await eventually(runs_again)
    await supervisor.stop()
    assert [(change.what, change.exit_code) for change in seen] == [("started", None), ("ended", -9), ("started", None)]


async def test_stopping_leaves_nothing_running(tmp_path: Path) -> None:
    supervisor = Supervisor()
    for name in ("a", "b"):
        supervisor.add(python(tmp_path, SLEEPS, name), always_ready)
    await supervisor.wait_ready(20)
    pids = [each.pid for each in supervisor.processes.values()]

    await supervisor.stop()

    assert [pid for pid in pids if pid is not None and is_running(pid)] == []
    assert dict(supervisor.processes) == {}


async def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path, supervisor: Supervisor) -> None:
    program = python(tmp_path, DEAF)

    async def says_so(pid: int) -> bool:
        return program.log.read_text() == "deaf\n"

    supervisor.add(program, says_so, patience_s=0.2)
    await supervisor.wait_ready(20)
    pid = supervisor.processes["program"].pid

    await supervisor.stop()

    assert pid is not None
    assert not is_running(pid)


async def test_a_program_that_keeps_dying_is_reported_with_its_log(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.add(python(tmp_path, FAILS), never_ready)

    with pytest.raises(NotReady, match=r"program isn't ready; .*program\.log ends with:\n(.*\n)*no such setting"):
        await supervisor.wait_ready(60)


async def test_not_ready_in_time_is_reported(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.add(python(tmp_path, SLEEPS), never_ready)

    with pytest.raises(NotReady, match="program isn't ready"):
        await supervisor.wait_ready(0.3)


PARENT = """
import asyncio, os, sys
from pathlib import Path
from app.dev.process import Program
from app.dev.supervisor import Supervisor
async def ready(pid): return True
async def main():
    supervisor = Supervisor()
    for name in ("a", "b", "c"):
        program = Program(name, (sys.executable, "-c", "import time; time.sleep(600)"), os.environ, Path(sys.argv[1]))
        supervisor.add(program, ready)
    await supervisor.wait_ready(20)
    print(*(each.pid for each in supervisor.processes.values()), flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_nothing_is_left_behind_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, tmp_path / "log"], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]

    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    async def all_gone() -> bool:
        return not any(map(is_running, pids))

    assert len(pids) == 3
    await eventually(all_gone)
