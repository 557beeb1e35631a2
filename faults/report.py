"""What experiments found: kept whole in the folder of the runs, in brief in faults/results.json, shown as tables, and
summed up in docs/reliability.md."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from faults.experiments import EXPERIMENTS
from faults.running import Result

BEGIN, END = "<!-- begin: written by python -m faults report -->", "<!-- end -->"
_FIRST = ("LOST", "DUP", "D", "PHANTOM", "WRONG", "BALANCE")


def read_results(path: Path) -> list[dict[str, Any]]:
    """The results of earlier runs; none where there is no file."""
    return json.loads(path.read_text()) if path.exists() else []


def brief(result: Result) -> dict[str, Any]:
    """What is kept in git: each invariant's verdict with its value and bound, and examples of what broke one."""
    whole = asdict(result)
    for each in whole["invariants"]:
        for name in ("means", "listed", *(("examples",) if each["verdict"] == "pass" else ())):
            each.pop(name, None)
    return whole


def add_result(path: Path, result: Mapping[str, Any]) -> None:
    """Puts a result in the place of the earlier one of the same experiment, seed and form."""
    mine = (result["name"], result["seed"], result["form"])
    others = [each for each in read_results(path) if (each["name"], each["seed"], each["form"]) != mine]
    order = {name: position for position, name in enumerate(EXPERIMENTS)}
    results = sorted([*others, result], key=lambda each: (each["seed"], order.get(each["name"], 99)))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text("[\n" + ",\n".join(map(json.dumps, results)) + "\n]\n")
    partial.replace(path)


def passed(result: Mapping[str, Any]) -> bool:
    verdicts = [each["verdict"] for each in result["invariants"]]
    return result["error"] is None and set(verdicts) == {"pass"}


def render(result: Result) -> RenderableType:
    """One experiment's table, for a terminal."""
    if result.error is not None:
        return Text(f"{result.name}, seed {result.seed}: could not be run to its end: {result.error}", style="bold red")
    title = f"{result.name}, seed {result.seed}: {result.load['notifications']} notifications in {result.duration_s} s"
    table = Table("invariant", title=title, title_justify="left")
    for name in ("value", "bound", "verdict"):
        table.add_column(name, justify="right")
    table.add_column("means")
    lines = []
    for each in result.invariants:
        if each["verdict"] == "pass" and each["name"] not in _FIRST and not each["value"]:
            continue
        style = "green" if each["verdict"] == "pass" else "bold red"
        verdict = Text(each["verdict"], style=style)
        table.add_row(each["name"], str(each["value"]), str(each["bound"]), verdict, each["means"])
        if each["verdict"] != "pass":
            told = [*each.get("examples", ()), *([each["unjudged"]] if each.get("unjudged") else [])]
            lines += [Text(f"  {each['name']}: {text}", style="red") for text in told]
    held = sum(each["verdict"] == "pass" for each in result.invariants)
    lines.append(Text(f"{held} of {len(result.invariants)} invariants hold"))
    return Group(table, *lines)


def write_table(document: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Replaces what stands between the markers of a document. Raises ValueError where it has none."""
    text = document.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{document}: has no place for the table, between {BEGIN} and {END}")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n{_markdown(results)}{END}{after}")


def _markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """One line an experiment, its seeds together: the worst of each invariant."""
    by_name: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        if result["form"] == "long":
            by_name[result["name"]].append(result)
    if not by_name:
        return "\nNot run yet.\n\n"
    head = ("experiment", "seeds", "notifications", *_FIRST, "others", "verdict")
    lines = [_row(head), _row(["---"] * len(head))]
    lines += [_row(_summed_up(name, by_name[name])) for name in EXPERIMENTS if name in by_name]
    ran = [result for of_one in by_name.values() for result in of_one]
    minutes = sum(result["duration_s"] for result in ran) / 60
    good = sum(map(passed, ran))
    revisions = ", ".join(sorted({result["revision"] for result in ran}))
    last = max(result["at"] for result in ran)
    told = (
        f"{good} of {len(ran)} runs passed, in {minutes:.0f} minutes; revision {revisions}, the last on {last[:10]}. "
        "A number is the sum over the seeds; D stands beside its bound."
    )
    return "\n" + "\n".join(lines) + f"\n\n{told}\n\n"


def _summed_up(name: str, results: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = [name, " ".join(str(result["seed"]) for result in results)]
    cells.append(str(sum(result["load"].get("notifications", 0) for result in results)))
    for invariant in _FIRST:
        found = [each for result in results for each in result["invariants"] if each["name"] == invariant]
        value = sum(each["value"] for each in found)
        bound = f" of {sum(each['bound'] for each in found)}" if invariant == "D" else ""
        cells.append(f"{value}{bound}" if found else "?")
    cells += [_others(results), _verdict(results)]
    return cells


def _others(results: Sequence[Mapping[str, Any]]) -> str:
    others = [each for result in results for each in result["invariants"] if each["name"] not in _FIRST]
    broken = sorted({each["name"] for each in others if each["verdict"] != "pass"})
    return f"**{', '.join(broken)}**" if broken else f"{len({each['name'] for each in others})} hold"


def _verdict(results: Sequence[Mapping[str, Any]]) -> str:
    bad = [str(result["seed"]) for result in results if not passed(result)]
    if not bad:
        undone = [result["extra"]["not_done"] for result in results if "not_done" in result["extra"]]
        return f"not done: {undone[0]}" if undone else "pass"
    return f"**FAIL** with seed {' '.join(bad)}"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
