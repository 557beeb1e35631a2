"""Named points at which a test can have the process killed, to prove that a crash there loses and doubles nothing."""

import os
import signal

_POINTS: dict[str, int] = {}


def arm(spec: str) -> None:
    """Arms points from ``name:count,…``: the process kills itself when a point is reached for the count-th time."""
    for part in filter(None, spec.split(",")):
        name, _, count = part.partition(":")
        _POINTS[name] = int(count or 1)


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
