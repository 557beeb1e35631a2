"""The clock that a worker's decisions are dated by: the machine's, or for tests one that a file moves."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

#: Names a file that holds the milliseconds by which the machine's clock is off. For tests only.
VARIABLE = "TOCSIN_CLOCK_OFF_BY"


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


def of(environ: Mapping[str, str]) -> Callable[[], int]:
    """Milliseconds since 1970, as the process's environment wants them."""
    file = environ.get(VARIABLE)
    if not file:
        return unix_ms
    path = Path(file)
    return lambda: unix_ms() + int(path.read_text())
