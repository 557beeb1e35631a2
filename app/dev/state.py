"""The state of a system running on this machine, so that other commands find it: addresses, keys, processes."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from app.private import write_private

#: Of ``tocsin dev``, below the folder in which it is started.
FOLDER = Path(".tocsin/dev")

_STATE, _LOCK = "state.json", "lock"
#: Readers of the state are surely done with the lock after so long.
_READERS_S = 0.5


class AlreadyRunning(Exception):
    """Another system runs in this folder."""


class ProcessState(Struct, frozen=True):
    """``restarts``: how often it had to be started again."""

    pid: int
    restarts: int
    log: str


class State(Struct, frozen=True, kw_only=True):
    """Holds secrets (keys, the JWT secret, the environment): its file is its owner's alone."""

    pid: int
    config_file: str
    #: What programs need besides TOCSIN_CONFIG, such as the sandbox's AWS credentials.
    environment: dict[str, str]
    gateway_url: str
    kafka_bootstrap: str
    sandbox_url: str
    #: The whole keys, by id: ``demo`` (send, campaign, read) and ``admin``.
    api_keys: dict[str, str]
    jwt_secret: str
    processes: dict[str, ProcessState]


def write_state(folder: Path, state: State) -> None:
    write_private(folder / _STATE, msgspec.json.format(msgspec.json.encode(state)))


def read_state(folder: Path = FOLDER) -> State | None:
    """The state of the system that runs in a folder; None if none does."""
    if not _is_locked(folder / _LOCK):
        return None
    try:
        return msgspec.json.decode((folder / _STATE).read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError):  # it is just starting, or of another version
        return None


def dev_environment(state: State) -> dict[str, str]:
    """The environment variables with which a command talks to the running system."""
    return {**state.environment, "TOCSIN_CONFIG": state.config_file}


@contextmanager
def sole_system(folder: Path) -> Iterator[None]:
    """Keeps others out of a folder, for as long as this process lives and no longer. Raises AlreadyRunning."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as file:
        if not _is_taken(file):
            raise AlreadyRunning(f"a system is already running in {folder}: stop it first, or use it")
        (folder / _STATE).unlink(missing_ok=True)  # of a system that was killed: it would be taken for ours
        try:
            yield
        finally:
            (folder / _STATE).unlink(missing_ok=True)


def _is_taken(file: IO[str]) -> bool:
    """Takes the lock. Whoever reads the state holds it for a moment, which is no reason to give up."""
    deadline = time.monotonic() + _READERS_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def _is_locked(path: Path) -> bool:
    try:
        file = path.open("r")
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
