"""The part of docs/performance.md that a run writes: its figures as tables, and the picture beside the page."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from bench.figures import Figure, shown
from bench.plot import Bar, Panel, plot

BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of the figures -->"
PICTURE = "performance.svg"


class NoPlace(Exception):
    """The page has no markers between which figures could be written."""


def with_figures(page: str, figures: Sequence[Figure], run: dict[str, Any]) -> str:
    """The page with the figures of a run in place of those it has. ``run``: as ``results`` gives it."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoPlace(f"put {BEGIN} and {END} into the page")
    return f"{before}{BEGIN}\n\n{_figures(figures, run)}\n{END}{after}"


def picture(figures: Sequence[Figure]) -> str:
    """The picture, as SVG."""
    cpu = [Bar(f.case, f.value) for f in figures if f.benchmark == "comparison" and f.name == "cpu"]
    waits = [f for f in figures if f.benchmark in ("latency", "urgent") and f.unit == "ms"]
    names = list(dict.fromkeys(f.name for f in waits))
    late, urgent = (
        [Bar(f"{f.case}: {f.name}", f.value, names.index(f.name)) for f in waits if f.benchmark == benchmark]
        for benchmark in ("latency", "urgent")
    )
    scale = [
        Bar(f.case, f.value, nth)
        for nth, benchmark in enumerate(("state", "partitions", "workers"))
        for f in figures
        if f.benchmark == benchmark and f.name == "cpu"
    ]
    return plot(
        [
            Panel("CPU of the process for one event", "µs", _once(cpu)),
            Panel("Latency, produced → provider", "ms", late, log=True),
            Panel("Latency of urgent messages", "ms", urgent, log=True),
            Panel("CPU of the router for one event, as things grow", "µs", scale),
        ]
    )


def _once(bars: Sequence[Bar]) -> list[Bar]:
    """One bar for each label: the first."""
    return list({bar.label: bar for bar in reversed(bars)}.values())[::-1]


def _figures(figures: Sequence[Figure], run: dict[str, Any]) -> str:
    machine, versions = run["machine"], run["versions"]
    lines = [
        f"Measured {run['date'][:10]} at revision {run['revision']}, {run['form']} form, in {run['seconds']} s, on "
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; Python "
        f"{versions['python']}, Kafka {versions['kafka']}, faust-streaming {versions['faust-streaming']}, aiokafka "
        f"{versions['aiokafka']}, rocksdict {versions['rocksdict']}.",
        "",
        f"![The figures as bars]({PICTURE})",
    ]
    for benchmark, found in groupby(figures, key=lambda figure: figure.benchmark):
        lines += ["", f"**{benchmark}**", "", "| case | figure | value | baseline | ratio | held to |"]
        lines += ["| --- | --- | ---: | ---: | ---: | --- |", *map(_row, found)]
    for name, why in run["failed"].items():
        lines += ["", f"`{name}` could not be measured: {why}"]
    return "\n".join(lines) + "\n"


def _row(figure: Figure) -> str:
    base = f"{shown(figure.baseline.value)} ({figure.baseline.case})" if figure.baseline else ""
    ratio = f"{figure.ratio:.2f}" if figure.ratio is not None else ""
    kept = {None: "", True: f"{figure.bound}: kept", False: f"{figure.bound}: **not kept**"}[figure.holds]
    return f"| {figure.case} | {figure.name} | {shown(figure.value)} {figure.unit} | {base} | {ratio} | {kept} |"
