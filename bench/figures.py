"""What is measured: figures, each with its baseline of the same run, and how they are told."""

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from msgspec import Struct, to_builtins
from rich.table import Table

from app.dev.kafka_jars import VERSION as KAFKA_VERSION

_PACKAGES = ("faust-streaming", "mode-streaming", "aiokafka", "rocksdict", "msgspec", "uvloop")


class Baseline(Struct, frozen=True):
    """What a figure is compared with: the same figure of another case, measured in the same run."""

    case: str
    value: float


class Figure(Struct, frozen=True, kw_only=True):
    """``case``: what was measured; ``name``: which figure of it. ``bound``: what it, or its ratio, is held to;
    ``holds`` None: to nothing."""

    benchmark: str
    case: str
    name: str
    value: float
    unit: str
    baseline: Baseline | None = None
    ratio: float | None = None
    bound: str | None = None
    holds: bool | None = None
    detail: dict[str, Any] = {}


def compared(
    figure: Figure, other: Figure | None, *, at_most: float | None = None, at_least: float | None = None
) -> Figure:
    """The figure with its ratio to the other's; the ratio is held to the bounds. No other: as it is."""
    if other is None or not other.value:
        return figure
    ratio = figure.value / other.value
    bound, holds = _held(ratio, at_most, at_least, " ×")
    return _with(figure, baseline=Baseline(other.case, other.value), ratio=ratio, bound=bound, holds=holds)


def held(figure: Figure, *, at_most: float | None = None, at_least: float | None = None) -> Figure:
    """The figure with its value held to the bounds."""
    bound, holds = _held(figure.value, at_most, at_least, f" {figure.unit}")
    return _with(figure, bound=bound, holds=holds)


def _held(value: float, at_most: float | None, at_least: float | None, unit: str) -> tuple[str | None, bool | None]:
    if at_most is not None:
        return f"≤ {at_most:g}{unit}", value <= at_most
    if at_least is not None:
        return f"≥ {at_least:g}{unit}", value >= at_least
    return None, None


def _with(figure: Figure, **changes: Any) -> Figure:
    return Figure(**({name: getattr(figure, name) for name in figure.__struct_fields__} | changes))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of the values don't exceed (nearest rank). Raises ValueError for none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def shown(value: float) -> str:
    """Three significant digits, whole above a hundred."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def as_table(title: str, figures: Sequence[Figure]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("case")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("baseline", justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("held to")
    for f in figures:
        base = f"{shown(f.baseline.value)} ({f.baseline.case})" if f.baseline else ""
        mark = {None: "", True: f"{f.bound} ✓", False: f"[red]{f.bound} ✗[/]"}[f.holds]
        table.add_row(f.case, f.name, f"{shown(f.value)} {f.unit}", base, f"{f.ratio:.2f}" if f.ratio else "", mark)
    return table


# --- the file ---


def results(figures: Sequence[Figure], failed: Mapping[str, str], *, form: str, seconds: float) -> dict[str, Any]:
    """A run as ``results.json`` holds it. ``failed``: the benchmarks that could not be measured, and why."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "form": form,
        "seconds": round(seconds),
        "revision": _revision(),
        "machine": machine(),
        "versions": {"python": platform.python_version(), "kafka": KAFKA_VERSION}
        | {name: version(name) for name in _PACKAGES},
        "failed": dict(failed),
        "figures": [to_builtins(figure) for figure in figures],
    }


def write_results(path: Path, found: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def machine() -> dict[str, Any]:
    """The machine that this runs on."""
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _revision() -> str:
    """The revision of the working tree, with a + where it was changed."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if git("status", "--porcelain", "-uno") else "")
