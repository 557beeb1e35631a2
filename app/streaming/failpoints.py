"""Named points at which a test can have the process killed, to prove that a crash there loses and doubles nothing.

In the order in which a checkpoint reaches them: ``before_journal``, ``after_journal``, ``amid_outputs``,
``after_outputs``, ``after_store``. Its calls, from ``after_journal`` on: ``before_call``, ``during_call``,
``after_reply``. And ``before_commit``, a few times a second.
"""

import os
import signal

#: Names the points for a worker's process, as ``arm`` takes them. For tests only.
VARIABLE = "TOCSIN_CRASH_AT"

_POINTS: dict[str, int] = {}


def arm(spec: str) -> None:
    """Arms points from ``name:count,…``: the process kills itself when a point is reached for the count-th time."""
    for part in filter(None, spec.split(",")):
        name, _, count = part.partition(":")
        _POINTS[name] = int(count or 1)


def is_armed(name: str) -> bool:
    return name in _POINTS


def reach(name: str) -> None:
    """Does nothing unless armed."""
    if not _POINTS:
        return
    left = _POINTS.get(name)
    if left is None:
        return
    _POINTS[name] = left - 1
    if left <= 1:
        os.kill(os.getpid(), signal.SIGKILL)
