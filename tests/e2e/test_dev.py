"""``tocsin dev`` as its user sees it: all of it runs, heals, is found, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from app.dev.state import ProcessState, State, dev_environment, read_state
from app.dev.system import ROLES
from tests.conftest import eventually
from tests.modes import open_to_others

_REPOSITORY = Path(__file__).parents[2]
#: On a busy machine; nothing is judged by how long it takes.
_LIMIT_S = 240.0


class Dev:
    """A running ``tocsin dev`` with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports = (option for each in ("gateway", "kafka", "page") for option in (f"--{each}-port", "0"))
        self.process = tocsin("dev", "--folder", str(folder), *ports)

    def wait_until_running(self) -> State:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("Tocsin is running"):
                break
        state = read_state(self.folder)
        assert state is not None, "it ended"
        return state

    @property
    def processes(self) -> Mapping[str, ProcessState]:
        state = read_state(self.folder)
        return state.processes if state else {}

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def tocsin(*arguments: str, **environ: str) -> "subprocess.Popen[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=_REPOSITORY,
        env={**clean, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def are_running(processes: Mapping[str, ProcessState]) -> list[str]:
    alive = []
    for name, process in processes.items():
        try:
            if psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
                alive.append(name)
        except psutil.NoSuchProcess:
            continue
    return alive


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    of_before = tmp_path / "dev" / "sandbox" / "by-an-earlier-version"
    of_before.parent.mkdir(parents=True)
    of_before.touch(0o644)
    running = Dev(tmp_path / "dev")
    yield running
    running.end()


async def test_dev_runs_heals_is_found_and_stops(dev: Dev) -> None:
    state = dev.wait_until_running()
    assert set(are_running(dev.processes)) == {"kafka", "sandbox", "gateway", *ROLES}

    second = tocsin("dev", "--folder", str(dev.folder))
    output, _ = second.communicate()
    assert second.returncode == 1
    assert "tocsin: a system is already running in " in output

    before = dev.processes["router"]
    os.kill(before.pid, signal.SIGKILL)

    async def router_is_back() -> bool:
        router = dev.processes.get("router")
        return router is not None and router.restarts == 1 and router.pid not in (0, before.pid)

    await eventually(router_is_back, _LIMIT_S)

    async def doctor_is_content() -> bool:
        doctor = tocsin("doctor", **dev_environment(state))
        doctor.communicate()
        return doctor.returncode == 0

    await eventually(doctor_is_content, _LIMIT_S)

    kept = [path.name for path in dev.folder.iterdir()]
    assert {"data", "kafka", "logs", "sandbox", "secrets.json", "state.json", "tocsin.toml"} <= set(kept)
    assert (dev.folder / "data" / "clickhouse").exists()
    assert open_to_others(dev.folder) == []

    processes = dev.processes
    dev.process.send_signal(signal.SIGINT)
    output, _ = dev.process.communicate()

    assert dev.process.returncode == 0
    assert "router ended (signal 9), restarting it" in output
    assert output.rstrip().endswith("Stopped.")
    assert are_running(processes) == []
    assert read_state(dev.folder) is None


async def test_nothing_is_left_behind_when_dev_is_killed_while_it_starts(dev: Dev) -> None:
    async def all_have_begun() -> bool:
        return len(dev.processes) == 3 + len(ROLES)

    await eventually(all_have_begun, _LIMIT_S)
    processes = dev.processes

    dev.process.kill()

    # The kernel lets go of a killed process's lock when its last thread is gone, which may be after its children.
    async def nothing_runs() -> bool:
        return not are_running(processes) and read_state(dev.folder) is None

    await eventually(nothing_runs)
