"""Becomes a program that dies with its parent: ``python child.py PARENT_PID SIGNAL PROGRAM ARGUMENT...``.

Run as a script, not as a module, so that it costs no imports of ours.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent: int, signal_number: int) -> None:
    """Has the kernel send this process a signal when its parent ends, however it ends (on Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:  # it ended before we asked
            os.kill(os.getpid(), signal_number)


def main() -> None:
    die_with(int(sys.argv[1]), int(sys.argv[2]))
    program = sys.argv[3:]
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
