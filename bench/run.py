"""One run of the benchmarks: what is wanted of it, how long it may take, and the figures found so far."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.figures import Figure, as_table

Size = TypeVar("Size", int, float)


@dataclass
class Run:
    """``only``: names of benchmarks, or of cases of them; empty: all."""

    console: Console
    short: bool = False
    only: Collection[str] = ()
    #: What ``pipe`` is measured beside (empty: nothing), and how many of its pushes wait (0: as the form says).
    beside: str = ""
    waiting: int = 0
    #: Of the campaign that is measured; 0: as the form says.
    recipients: int = 0
    #: Of the replay that is measured; 0: as the form says.
    sends: int = 0
    #: Takes what the systems under measurement keep, and their logs.
    folder: Path = Path(".tocsin/bench")
    figures: list[Figure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.progress = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
        )

    def wants(self, *names: str) -> bool:
        return not self.only or any(name in self.only for name in names)

    def size(self, long: Size, short: Size) -> Size:
        """How much is measured in this run's form."""
        return short if self.short else long

    def tell(self, title: str, figures: Sequence[Figure]) -> None:
        """Keeps figures, and shows them."""
        self.figures.extend(figures)
        self.console.print(as_table(title, figures))
