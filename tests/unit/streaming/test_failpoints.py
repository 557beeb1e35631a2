"""Crash points: nothing happens unless armed; then the process dies as by SIGKILL, at the count asked for."""

import signal
import subprocess
import sys

PROGRAM = """
from app.streaming.failpoints import arm, reach
arm({armed!r})
for number in range(3):
    reach("here")
    print(number, flush=True)
"""


def run(armed: str) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(armed=armed)], capture_output=True, text=True)
    return done.returncode, done.stdout.split()


def test_a_point_that_is_not_armed_does_nothing() -> None:
    assert run("elsewhere:1") == (0, ["0", "1", "2"])


def test_an_armed_point_kills_the_process_when_it_is_reached_that_often() -> None:
    assert run("elsewhere,here:2") == (-signal.SIGKILL, ["0"])
