"""The tests in random order, in four processes, beside a load on every core: `make shuffled`. A test that depends on
luck, on its neighbours or on the machine's leisure fails here. The seed is printed, and makes the same order again."""

import argparse
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_PROCESSES = 4
_LOAD = "while True: pass"


@contextmanager
def load(cores: int) -> Iterator[None]:
    """Keeps every core busy."""
    busy = [subprocess.Popen([sys.executable, "-c", _LOAD]) for _ in range(cores)]
    try:
        yield
    finally:
        for each in busy:
            each.kill()
            each.wait()


def command(seed: int, paths: Sequence[str]) -> list[str]:
    order = ["--random-order-bucket=global", f"--random-order-seed={seed}"]
    shared_out = [f"--numprocesses={_PROCESSES}", "--dist=loadfile", "--no-loadscope-reorder"]
    return [sys.executable, "-m", "pytest", *shared_out, *order, *paths]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="of the order; else another each time")
    parser.add_argument("paths", nargs="*", default=["tests/unit", "tests/agents"], help="what to run")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # (the load ends with this process)
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    asked = command(seed, given.paths)
    print(f"seed {seed}: make shuffled SEED={seed} ONLY='{' '.join(given.paths)}'", flush=True)
    with load(os.cpu_count() or 2):
        return subprocess.run(asked, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
