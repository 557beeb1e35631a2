"""What commands have in common: tables for people or JSON for programs, and the one way to fail."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

_WIDTH_OF_FILES = 160

#: The option that every command with a table has.
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


class Refused(Exception):
    """The command can't do what was asked: its message is printed as one line, and the exit status is 1."""


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """A table with a column for each name, or a JSON array of the whole rows."""
    if as_json:
        print(json.dumps(rows, default=str, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for row in rows:
        table.add_row(*("" if row[column] is None else str(row[column]) for column in columns))
    Console(width=None if sys.stdout.isatty() else _WIDTH_OF_FILES, markup=False, highlight=False).print(table)
