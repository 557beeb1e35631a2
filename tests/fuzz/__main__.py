"""The long form: every target in turn, each for its share of the time; and replays of what was found.

python -m tests.fuzz run --minutes 10 [--only notify_events] [--seed 7]
python -m tests.fuzz system --minutes 5 [--seed 7]
python -m tests.fuzz replay tests/fuzz/regressions/….json
"""

import importlib.util
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

_CORPUS = Path(".tocsin/fuzz")
#: Beside its share: starting, the last input, the report.
_SPARE_S = 120

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def run(minutes: float = 10, only: str = "", seed: int = -1) -> None:
    """Every target in turn; with status 1 if anything was found."""
    _quiet()
    from tests.fuzz.targets import TARGETS

    chosen = [target for target in TARGETS if only in target.name]
    if not chosen:
        raise typer.BadParameter(f"there is no target with {only!r} in its name")
    seed = random.randrange(2**31) if seed < 0 else seed
    bytes_too = importlib.util.find_spec("atheris") is not None
    turns = [(target.name, "structure") for target in chosen]
    turns += [(target.name, "bytes") for target in chosen if target.of_bytes is not None and bytes_too]
    share = 60 * minutes / len(turns)
    print(f"seed {seed}; {len(turns)} turns of {share:.1f} s{'' if bytes_too else '; no atheris: structure only'}")
    total, found = 0, dict[str, str]()
    for name, by in turns:
        said = _turn(name, by, share, seed)
        total += said["inputs"]
        found |= said["found"]
        speed = f"{said['inputs']:>7} inputs in {said['seconds']:>5} s, the slowest {said['slowest']} s"
        print(f"{name:<52} {by:<9} {speed}{''.join(f'{chr(10)}    {kind}' for kind in said['found'])}", flush=True)
    print(f"{total} inputs, {len(found)} kinds of faults found")
    for kind, file in found.items():
        print(f"  {kind}\n    .venv/bin/python -m tests.fuzz replay {file}")
    raise typer.Exit(bool(found))


def _turn(name: str, by: str, seconds: float, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        report, log = Path(folder) / "report.json", Path(folder) / "log"
        command = [sys.executable, "-m", "tests.fuzz", "one", name, by, str(seconds), str(seed), str(report)]
        died = ""
        with log.open("wb") as out:
            try:
                code = subprocess.run(
                    command, stdout=out, stderr=out, timeout=seconds + _SPARE_S, check=False
                ).returncode
                died = f"ended with status {code}" if code else ""
            except subprocess.TimeoutExpired:
                died = f"did not end within {seconds + _SPARE_S:.0f} s"
        said: dict[str, Any] = {"inputs": 0, "seconds": 0, "slowest": 0, "found": {}}
        if report.exists():
            said |= json.loads(report.read_text())
        if died and not said["found"]:
            kept = _CORPUS / f"{_file_name(name)}-{by}.log"
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(log.read_bytes())
            said["found"] = {f"{name} by {by} {died}": str(kept)}
        return said


@app.command(hidden=True)
def one(name: str, by: str, seconds: float, seed: int, report: Path) -> None:
    """One turn, in a process of its own."""
    _quiet()
    from tests.fuzz import running

    if by == "bytes":
        running.by_bytes(name, seconds, seed, report, (_CORPUS / _file_name(name)).absolute())
    running.by_structure(name, seconds, seed, report)


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


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name).strip("-")


def _quiet() -> None:
    """What the parts log of bad input is of no use here, and there is much of it."""
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


if __name__ == "__main__":
    app()
