"""Replays one seed and prints its history, or tries many: ``python -m tests.simulation --seed 17``."""

import argparse
import sys
import time

from tests.simulation.checker import violations
from tests.simulation.world import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="print the history of this seed")
    parser.add_argument("--seeds", type=int, default=1_000, metavar="N", help="try so many seeds (default 1,000)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of them (default 0)")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        return _replay(chosen.seed)
    return _try(range(chosen.first, chosen.first + chosen.seeds))


def _replay(seed: int) -> int:
    found = violations(World(seed, loud=print).run())
    print("\n".join(found) or "all is well")
    return 1 if found else 0


def _try(seeds: range) -> int:
    began, bad = time.monotonic(), 0
    for number, seed in enumerate(seeds, 1):
        found = violations(World(seed).run())
        bad += bool(found)
        for violation in found:
            print(f"seed {seed}: {violation}", flush=True)
        if number % 100 == 0:
            print(f"{number} seeds, {bad} bad, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(f"{len(seeds)} seeds, {bad} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
