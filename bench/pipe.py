"""What a push costs end to end: the CPU of every process that it passes, and the records and bytes that it leaves.

Beside another revision, in turns: each turn is a system of its own (``bench/carrying.py``), with the Python, the files
and the libraries of its revision.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct

from bench.carrying import Carried, Load, Turn
from bench.figures import Figure, compared, percentile
from bench.run import Run

NAME = "pipe"
#: What the present revision is measured beside where nothing else is said: the first that had this workload.
BESIDE = "2312310"
#: The processes that a push passes; the provider sandbox stands for somebody else's.
OURS = ("router", "push", "analytics", "broker")
#: Those of them that make checkpoints.
JOURNALING = ("router", "push")

_ROOT = Path(__file__).parents[1]
_SCRIPT = Path(__file__).with_name("carrying.py")
_TURNS = 3
_RATE = 300.0
#: All of ours together may take so many times what ``BESIDE`` took.
_BOUND_WAITING, _BOUND_SINGLY = 0.6, 0.7
_LAST_LINES = 12


class CannotMeasure(Exception):
    """A revision that couldn't be built, or a turn of it that failed; the message says why."""


class Revision(Struct, frozen=True):
    """A revision that can be run: where its files are. ``name``: as figures call it."""

    name: str
    root: Path

    async def carry(self, turn: Turn) -> Carried:
        """One turn, in a process of its own. Raises CannotMeasure."""
        result, log = self.root / ".tocsin/bench/carried.json", self.root / ".tocsin/bench/carrying.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        result.unlink(missing_ok=True)
        environ = os.environ | {
            "PYTHONPATH": str(self.root),
            "PYTHONPYCACHEPREFIX": str(self.root / ".venv/bytecode"),
        }
        arguments = ("-P", _SCRIPT, msgspec.json.encode(turn).decode(), result)
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                self.root / ".venv/bin/python", *arguments, cwd=self.root, env=environ, stdout=output, stderr=output
            )
            try:
                ended = await process.wait()
            except asyncio.CancelledError:
                process.send_signal(signal.SIGINT)  # it stops its system
                await process.wait()
                raise
        if ended or not result.exists():
            raise CannotMeasure(f"revision {self.name}: {_last_lines(log)}")
        return msgspec.json.decode(result.read_bytes(), type=Carried)


async def measure(run: Run) -> None:
    turn = Turn(5_000, 2_000, run.waiting or 50_000, _RATE, 30.0)
    if run.short:
        turn = Turn(500, 500, run.waiting or 4_000, _RATE, 8.0)
    revisions = [Revision("now", _ROOT), *await _beside(run)]
    carried: dict[str, list[Carried]] = {revision.name: [] for revision in revisions}
    for nth in range(_TURNS):
        for revision in revisions:
            task = run.progress.add_task(f"  turn {nth + 1}, {revision.name}", total=None)
            carried[revision.name].append(await revision.carry(turn))
            run.progress.remove_task(task)
    waiting = {name: [each.waiting for each in turns] for name, turns in carried.items()}
    _show(run, f"{turn.waiting:,} waiting", waiting, _BOUND_WAITING)
    singly = {name: [each.singly for each in turns] for name, turns in carried.items()}
    _show(run, f"{turn.rate:.0f}/s singly", singly, _BOUND_SINGLY)


async def _beside(run: Run) -> list[Revision]:
    """The other revision; none where it is the present one that is to be measured alone."""
    if not run.beside:
        return []
    task = run.progress.add_task(f"  building {run.beside}", total=None)
    try:
        return [await asyncio.to_thread(built, run.beside, run.folder.absolute() / "beside")]
    finally:
        run.progress.remove_task(task)


def built(name: str, folder: Path) -> Revision:
    """The revision's files, with a virtual environment of its own; made once. Raises CannotMeasure."""
    commit = _output("git", "-C", _ROOT, "rev-parse", "--verify", "--short=10", f"{name}^{{commit}}").strip()
    root = folder / commit
    if not (root / "Makefile").exists():
        root.mkdir(parents=True, exist_ok=True)
        archive = root.with_suffix(".tar")
        _output("git", "-C", _ROOT, "archive", f"--output={archive}", commit)
        _output("tar", "-xf", archive, "-C", root)
        archive.unlink()
    jars = root / ".tocsin/kafka"
    if not jars.exists():
        jars.parent.mkdir(exist_ok=True)
        jars.symlink_to(_ROOT / ".tocsin/kafka")
    _output(sys.executable, root / "app/dev/bootstrap.py")
    return Revision(name, root)


def _output(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotMeasure(f"{' '.join(map(str, command))}: {done.stderr[-500:]}")
    return done.stdout


def _last_lines(log: Path) -> str:
    return " ".join(log.read_text(errors="replace").split("\n")[-_LAST_LINES:])


# --- what is found ---


def _show(run: Run, case: str, loads: dict[str, list[Load]], bound: float) -> None:
    """``bound``: what the whole is held to beside the revision that all later ones are compared with."""
    ours, *others = [figures(f"{case}, {name}", turns) for name, turns in loads.items()]
    theirs = others[0] if others else ()
    told = beside(ours, theirs, bound if run.beside == BESIDE else None)
    run.tell(f"pipe: {case}, medians of {_TURNS} turns", told)


def beside(ours: Sequence[Figure], theirs: Sequence[Figure] = (), at_most: float | None = None) -> list[Figure]:
    """Our figures with their ratios to the other revision's; the first one's is held to the bound."""
    base = {figure.name: figure for figure in theirs}
    return [
        compared(figure, base.get(figure.name), at_most=None if nth else at_most) for nth, figure in enumerate(ours)
    ]


def figures(case: str, turns: Sequence[Load]) -> list[Figure]:
    """What the turns of one revision found: medians, each with what every turn found. The first is the whole."""
    return list(_figures(case, turns))


def _figures(case: str, turns: Sequence[Load]) -> Iterator[Figure]:
    def each(name: str, unit: str, value: Callable[[Load], float]) -> Figure:
        values = [value(load) for load in turns]
        detail = {"turns": [round(v, 3) for v in values], "notifications": turns[0].notifications}
        return Figure(benchmark=NAME, case=case, name=name, value=median(values), unit=unit, detail=detail)

    yield each("all of ours", "µs", lambda load: sum(map(load.cpu_us, OURS)))
    for process in (*OURS, "sandbox"):
        yield each(process, "µs", partial(Load.cpu_us, process=process))
    if all(load.latencies_ms for load in turns):
        yield each("p50", "ms", lambda load: percentile(load.latencies_ms, 50.0))
        yield each("p99", "ms", lambda load: percentile(load.latencies_ms, 99.0))
    for role in JOURNALING:
        yield each(f"{role}: checkpoints", "/s", partial(Load.checkpoints_a_second, role=role))
        yield each(f"{role}: notifications a checkpoint", "", partial(Load.notifications_a_checkpoint, role=role))
    for topic in turns[-1].topics():
        yield each(f"{topic}: records", "a notification", partial(Load.records, topic=topic))
        yield each(f"{topic}: bytes", "B a notification", partial(Load.bytes, topic=topic))
