"""Shows verdicts as a table, with what breaks an invariant and every member of D."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from faults.checker.values import Verdict


def render(title: str, verdicts: Sequence[Verdict]) -> RenderableType:
    table = Table(title=title, title_justify="left")
    table.add_column("invariant")
    for name in ("value", "bound"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    table.add_column("counts")
    for each in verdicts:
        style = "green" if each.holds else "bold red"
        table.add_row(each.name, str(each.value), str(each.bound), Text(each.verdict, style), each.means)
    lines = [Text(line) for line in (*_breaks(verdicts), *_listed(verdicts))]
    return Group(table, *lines)


def _breaks(verdicts: Sequence[Verdict]) -> list[str]:
    return [f"{each.name}: {example}" for each in verdicts if not each.holds for example in each.examples]


def _listed(verdicts: Sequence[Verdict]) -> list[str]:
    lines = []
    for each in verdicts:
        for member in each.listed:
            lines.append(f"{each.name} lists " + " ".join(f"{name}={value}" for name, value in member.items()))
    return lines
