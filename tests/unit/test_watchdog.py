"""A process whose end hangs is ended, says what hung, and is told from one that ended by itself."""

import asyncio
import faulthandler
import subprocess
import sys

import pytest

from app import watchdog
from app.watchdog import EXIT_CODE, Watchdog

LIMIT_S = 0.5

#: Ends as a role does; ``hang`` is what its end does.
PROGRAM = """
import asyncio, ctypes, sys, threading
from app import logs
from app.watchdog import Watchdog

never = threading.Event()

{hang}

async def main():
    Watchdog({limit_s}).arm()
    await hang()

logs.configure(console=False)
asyncio.run(main())
"""

AWAITS_FOR_EVER = """
async def hang():
    await asyncio.get_running_loop().create_future()
"""
IGNORES_ITS_CANCELLATION = """
async def stubborn():
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

async def hang():
    asyncio.create_task(stubborn(), name="deaf")
    await asyncio.sleep(0)
"""
BLOCKS_THE_LOOP = """
async def hang():
    never.wait()
"""
LEAVES_A_THREAD = """
async def hang():
    threading.Thread(target=never.wait, name="left-behind").start()
"""
WAITS_IN_ANOTHER_THREAD = """
async def hang():
    await asyncio.to_thread(never.wait)
"""
KEEPS_THE_INTERPRETER = """
async def hang():
    ctypes.PyDLL(None).sleep(600)
"""
ENDS = """
async def hang():
    pass
"""


def run(hang: str, limit_s: float = LIMIT_S) -> tuple[int, str]:
    """Its exit code and what it said."""
    program = PROGRAM.format(hang=hang, limit_s=limit_s)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600, check=False)
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("hang", "said"),
    [
        (AWAITS_FOR_EVER, "Task-1: main"),
        (IGNORES_ITS_CANCELLATION, "deaf: stubborn"),
        (BLOCKS_THE_LOOP, "hang (<string>:"),
        (LEAVES_A_THREAD, "left-behind: "),
        (WAITS_IN_ANOTHER_THREAD, "asyncio_0: "),
    ],
    ids=("awaits", "deaf", "blocked", "thread", "executor"),
)
def test_an_end_that_hangs_is_ended_and_says_what_still_ran(hang: str, said: str) -> None:
    code, log = run(hang)

    assert code == EXIT_CODE
    assert '"event": "forced the process to end"' in log
    assert said in log


def test_what_keeps_the_interpreter_to_itself_is_ended_too() -> None:
    code, log = run(KEEPS_THE_INTERPRETER)

    assert code == 1
    assert "in hang" in log


def test_a_loop_that_stands_still_is_ended_and_says_where() -> None:
    program = """
import asyncio, threading
from app.watchdog import Watchdog

async def stand_still():
    threading.Event().wait()

async def main():
    beating = asyncio.create_task(Watchdog(50, stuck_s=2.0).beat())
    await asyncio.sleep(0)
    await stand_still()

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600, check=False)

    assert ended.returncode == 1
    assert "in stand_still" in ended.stderr


async def test_a_loop_that_runs_puts_its_end_off_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[tuple[float, bool]] = []
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda after_s, exit: ends.append((after_s, exit)))
    monkeypatch.setattr(watchdog, "_BEAT_S", 0.0)
    beating = asyncio.create_task(Watchdog(50, stuck_s=1.5).beat())
    while len(ends) < 5:
        await asyncio.sleep(0)
    beating.cancel()

    assert set(ends) == {(1.5, True)}


def test_an_ordinary_end_is_neither_touched_nor_held_up() -> None:
    assert run(ENDS, limit_s=10_000) == (0, "")  # (what held it up would run into the limit of its run)
