"""Starts a child process that dies with us, writes to a log file, and is stopped politely, then not."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_WRAPPER = Path(__file__).with_name("child.py")


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: ``name`` also names its log file; ``environ`` is the whole environment."""

    name: str
    command: Sequence[str | Path]
    environ: Mapping[str, str]
    log: Path


async def start(program: Program) -> asyncio.subprocess.Process:
    """Starts it in a session of its own (a terminal's Ctrl-C is for us to pass on). Call from the main thread:
    Linux kills the child when the thread that made it ends."""
    program.log.parent.mkdir(parents=True, exist_ok=True)
    wrapped = [sys.executable, "-I", "-S", _WRAPPER, str(os.getpid()), str(int(signal.SIGKILL)), *program.command]
    with program.log.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *map(str, wrapped),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(program.environ),
            start_new_session=True,
        )


async def stop(process: asyncio.subprocess.Process, patience_s: float) -> None:
    """SIGTERM, and SIGKILL when it hasn't ended within ``patience_s`` seconds."""
    send(process, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), patience_s)
    except TimeoutError:
        send(process, signal.SIGKILL)
        await process.wait()


def send(process: asyncio.subprocess.Process, signum: signal.Signals) -> None:
    """Sends a signal. A process that ended by itself a moment ago may be gone before asyncio has told us."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signum)


def last_lines(log: Path, count: int = 5) -> str:
    """The end of a log file, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return ""
