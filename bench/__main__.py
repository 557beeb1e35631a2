"""``make bench``: runs the benchmarks and writes what they found."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from bench import (
    analytics,
    campaign,
    comparison,
    gateway,
    inbox,
    latency,
    neighbours,
    partitions,
    pausing,
    pipe,
    recovery,
    replay,
    slowloris,
    state,
    stopping,
    streams,
    urgent,
    workers,
)
from bench.figures import results, write_results
from bench.page import PICTURE, picture, with_figures
from bench.profile import profile as profile_decisions
from bench.run import Run

RESULTS, PAGE = Path("bench/results.json"), Path("docs/performance.md")
PARTIAL = Path(".tocsin/bench/results.json")

#: Of why a benchmark failed, so many characters are written down.
_WHY = 300

Benchmark = Callable[[Run], Awaitable[None]]
#: By name, in the order in which they are run.
BENCHMARKS: dict[str, Benchmark] = {
    comparison.NAME: comparison.measure,
    pipe.NAME: pipe.measure,
    latency.NAME: latency.measure,
    urgent.NAME: urgent.measure,
    neighbours.NAME: neighbours.measure,
    slowloris.NAME: slowloris.measure,
    gateway.NAME: gateway.measure,
    campaign.NAME: campaign.measure,
    replay.NAME: replay.measure,
    pausing.NAME: pausing.measure,
    streams.NAME: streams.measure,
    inbox.NAME: inbox.measure,
    stopping.NAME: stopping.measure,
    recovery.NAME: recovery.measure,
    workers.NAME: workers.measure,
    partitions.NAME: partitions.measure,
    state.NAME: state.measure,
    analytics.NAME: analytics.measure,
}
#: Parts of a benchmark that can be asked for alone.
CASES: dict[str, tuple[str, ...]] = {
    comparison.NAME: comparison.CASES,
    stopping.NAME: stopping.CASES,
    inbox.NAME: inbox.CASES,
    analytics.NAME: analytics.CASES,
}

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def run(
    short: Annotated[bool, typer.Option("--short", help="Fewer events: a couple of minutes.")] = False,
    only: Annotated[str, typer.Option(help="Benchmarks, or parts of one, with commas between.")] = "",
    beside: Annotated[
        str, typer.Option(help="The revision that pipe is measured beside; empty: none.", metavar="REVISION")
    ] = pipe.BESIDE,
    waiting: Annotated[int, typer.Option(min=0, help="How many pushes wait in pipe; 0: as the form says.")] = 0,
    recipients: Annotated[int, typer.Option(min=0, help="Of `campaign`: how many; 0: as the form says.")] = 0,
    sends: Annotated[int, typer.Option(min=0, help="Of `replay`: how many; 0: as the form says.")] = 0,
) -> None:
    """Run the benchmarks, show what they find, and write it down.

    The whole long form writes bench/results.json and the figures in docs/performance.md; any other run writes
    .tocsin/bench/results.json.

    Example: `python -m bench run --short --only router`
    """
    wanted = {name.strip() for name in only.split(",") if name.strip()}
    known = set(BENCHMARKS).union(*CASES.values())
    if unknown := wanted - known:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(sorted(known))}")
    this = Run(Console(), short, wanted, beside, waiting, recipients, sends)
    whole = not short and not wanted and not recipients and not sends
    found = asyncio.run(_run(this))
    if whole:
        write_results(RESULTS, found)
        PAGE.write_text(with_figures(PAGE.read_text(), this.figures, found))
        PAGE.with_name(PICTURE).write_text(picture(this.figures))
    written = f"{RESULTS}, {PAGE}" if whole else PARTIAL
    this.console.print(f"{found['seconds']} s; written to {written}", highlight=False)
    if found["failed"]:
        raise typer.Exit(1)


async def _run(this: Run) -> dict[str, Any]:
    """Runs what is wanted and returns the results, which are also written after each benchmark.

    One that fails leaves the others, and itself, the figures found until then.
    """
    failed: dict[str, str] = {}
    begun = time.monotonic()

    def found() -> dict[str, Any]:
        form = "short" if this.short else "long"
        return results(this.figures, failed, form=form, seconds=time.monotonic() - begun)

    with this.progress:
        for name, measure in BENCHMARKS.items():
            if not this.wants(name, *CASES.get(name, ())):
                continue
            this.console.rule(name, align="left")
            this.progress.add_task(f"[bold]{name}", total=None)
            try:
                await measure(this)
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                this.console.print(f"[red]could not be measured:[/] {escape(why)}", highlight=False)
                failed[name] = " ".join(why.split())[:_WHY]
            for each in this.progress.task_ids:
                this.progress.remove_task(each)
            write_results(PARTIAL, found())
    return found()


@app.command()
def profile(
    events: Annotated[int, typer.Option(min=100, help="How many are handled, once timed and once profiled.")] = 20_000,
    users: Annotated[int, typer.Option(min=1, help="How many users there are.")] = 2_000,
    batch: Annotated[int, typer.Option(min=1, help="Events of one checkpoint.")] = 200,
    lines: Annotated[int, typer.Option(min=1, help="Functions shown.")] = 40,
) -> None:
    """Show what the pure path of a decision costs: handle, changed rows, the journal's entry; on dicts, without Kafka.

    Example: `python -m bench profile --events 50000`
    """
    profile_decisions(events, users, batch, lines, Console())


if __name__ == "__main__":
    logging.getLogger().addHandler(logging.NullHandler())  # what a client library logs is no output of ours
    app()
