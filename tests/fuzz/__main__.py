"""The long form: every target in turn, each for its share of the time; and replays of what was found.

python -m tests.fuzz run --minutes 10 [--only notify_events] [--seed 7]
python -m tests.fuzz system --minutes 5 [--seed 7]
python -m tests.fuzz replay tests/fuzz/regressions/….json
"""

import importlib.util
import logging
import random
from pathlib import Path
from typing import Annotated

import structlog
import typer

from tests.fuzz import running

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def run(minutes: float = 10, only: str = "", seed: int = -1) -> None:
    """Every target in turn; with status 1 if anything was found."""
    _quiet()
    seed = random.randrange(2**31) if seed < 0 else seed
    ways = ["structure", "bytes"] if importlib.util.find_spec("atheris") is not None else ["structure"]
    print(f"seed {seed}{'' if len(ways) > 1 else '; no atheris: structure only'}", flush=True)
    said = [running.forked(running.turns, float("inf"), way, only, 60 * minutes / len(ways), seed) for way in ways]
    found = {kind: file for each in said for kind, file in each["found"].items()}
    print(f"{sum(each['inputs'] for each in said)} inputs, {len(found)} kinds of faults found")
    for kind, file in found.items():
        print(f"  {kind}\n    .venv/bin/python -m tests.fuzz replay {file}")
    raise typer.Exit(bool(found))


@app.command()
def replay(file: Annotated[Path, typer.Argument(exists=True)]) -> None:
    """One input that was found; raises what it raises."""
    _quiet()
    from tests.fuzz.findings import replay as again

    again(file)
    print("nothing is raised any more")


@app.command()
def system(minutes: float = 5, seed: int = -1) -> None:
    """A whole system, with mutated records and requests, judged at the end."""
    _quiet()
    from tests.fuzz.system import run_system

    seed = random.randrange(2**31) if seed < 0 else seed
    raise typer.Exit(not run_system(minutes, seed))


def _quiet() -> None:
    """What the parts log of bad input is of no use here, and there is much of it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


if __name__ == "__main__":
    app()
