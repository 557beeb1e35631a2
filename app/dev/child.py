"""Becomes a program that dies with its parent: ``python child.py PARENT_PID SIGNAL PROGRAM ARGUMENT...``.

Run as a script, not as a module, so that it costs no imports of ours. Linux only does the dying part; elsewhere the
program simply runs.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, signal_number, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            sys.exit(1)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
