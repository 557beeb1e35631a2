"""A process whose end hangs is ended, says what hung, and is told from one that ended by itself."""

import subprocess
import sys
import time

import pytest

from app.watchdog import EXIT_CODE

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
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
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
    beating = asyncio.create_task(Watchdog(50, stuck_s=0.5).beat())
    await asyncio.sleep(0)
    await stand_still()

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    assert "in stand_still" in ended.stderr


def test_a_loop_that_runs_is_left_alone_for_longer_than_it_may_stand_still() -> None:
    program = """
import asyncio
from app.watchdog import Watchdog

async def main():
    beating = asyncio.create_task(Watchdog(50, stuck_s=1.5).beat())
    await asyncio.sleep(2.5)
    print("runs")

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "runs\n", "")


def test_an_ordinary_end_is_neither_touched_nor_held_up() -> None:
    began = time.monotonic()

    assert run(ENDS, limit_s=50) == (0, "")
    assert time.monotonic() - began < 50
