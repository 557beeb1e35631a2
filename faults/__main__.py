"""``python -m faults``: breaks a system of its own in every way, and says what became of what it had accepted."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console

from faults.experiments import EXPERIMENTS
from faults.report import add_result, brief, passed, read_results, render, write_table
from faults.running import Result
from faults.scene import Experiment
from faults.session import Session, run_all

_RESULTS = Path(__file__).with_name("results.json")
_DOCUMENT = Path(__file__).parents[1] / "docs" / "reliability.md"

app = typer.Typer(help="Fault experiments on real processes, Kafka and the provider sandbox.", no_args_is_help=True)


@app.command("list")
def show() -> None:
    """Name the experiments and what each does.

    Example: `python -m faults list`
    """
    width = max(map(len, EXPERIMENTS))
    for name, experiment in EXPERIMENTS.items():
        print(f"{name:<{width}}  {experiment.does}")


@app.command()
def run(
    names: Annotated[list[str] | None, typer.Argument(help="Which experiments; left out: all.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Once for each seed; left out: 1, 2 and 3.")] = None,
    short: Annotated[bool, typer.Option("--short", help="Small loads and few faults, as in `make test`.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out what has passed already.")] = False,
    minutes: Annotated[float, typer.Option(min=1, help="Begin no experiment after so long.")] = 60,
    folder: Annotated[Path, typer.Option(help="Takes the system and the runs' folders.")] = Path(".tocsin/faults"),
) -> None:
    """Run experiments, show each one's table, and keep the results. Exit status 0 only if every invariant held.

    All of it is kept in the folder's results.json; of long forms, what held and what broke goes to faults/results.json
    and into docs/reliability.md, too.

    Example: `python -m faults run zombies --seed 7`
    """
    _be_quiet()
    console = Console()
    chosen = [_named(name) for name in names or EXPERIMENTS]
    seeds = seed or [1, 2, 3]
    whole = folder / "results.json"
    kept = whole if short else _RESULTS
    form = "short" if short else "long"
    good = {(each["name"], each["seed"]) for each in read_results(kept) if each["form"] == form and passed(each)}
    results: list[Result] = []
    total, started = len(chosen) * len(seeds), time.monotonic()

    def done(result: Result) -> None:
        results.append(result)
        add_result(whole, asdict(result))
        if not short:
            add_result(_RESULTS, brief(result))
        console.print(render(result))
        console.print(f"[{len(results)} of {total}] {(time.monotonic() - started) / 60:.1f} minutes\n", highlight=False)

    async def everything() -> None:
        async with Session(folder.absolute(), Path(".tocsin/kafka"), lambda words: print(words, flush=True)) as session:
            await run_all(
                session,
                chosen,
                seeds,
                short=short,
                limit_s=minutes * 60,
                done=done,
                skip=lambda name, seed: resume and (name, seed) in good,
            )

    asyncio.run(_until_told(everything()))
    if not short and _DOCUMENT.exists():
        write_table(_DOCUMENT, read_results(_RESULTS))
    skipped = sum((each.name, one) in good for each in chosen for one in seeds) if resume else 0
    failed = [result for result in results if not result.passed]
    for result in failed:
        print(f"FAILED: {result.name}; once more: python -m faults run {result.name} --seed {result.seed}")
    if left := total - skipped - len(results):
        print(f"NOT RUN: {left} experiments, as the time was over; go on with --resume")
    print(f"{len(results) - len(failed)} of {len(results)} passed")
    sys.exit(1 if failed or left else 0)


@app.command()
def report() -> None:
    """Write the table of faults/results.json into docs/reliability.md.

    Example: `python -m faults report`
    """
    write_table(_DOCUMENT, read_results(_RESULTS))


def _be_quiet() -> None:
    """That a broker is away is no news here."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def _named(name: str) -> Experiment:
    if name not in EXPERIMENTS:
        raise typer.BadParameter(f"there is no experiment {name}; there are {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Runs until it has ended, or until SIGTERM or Ctrl-C, which let it clean up."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        print("stopped")


if __name__ == "__main__":
    app()
