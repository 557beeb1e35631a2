"""The command line: ``python -m faults.checker RUN_FOLDER``."""

import argparse
import sys
from pathlib import Path

import orjson
from rich.console import Console

from faults.checker.folder import read_terms
from faults.checker.judging import judge
from faults.checker.report import render
from faults.checker.values import BadRun


def main(arguments: list[str] | None = None) -> int:
    """0: every invariant holds; 1: one doesn't; 2: the run can't be judged."""
    parser = argparse.ArgumentParser(
        prog="python -m faults.checker",
        description="Judges a run of the fault experiments by the client's log, the sandbox's files and the topics. "
        "Ends with status 0 only if every invariant holds.",
        epilog="Example: python -m faults.checker .tocsin/faults/kill-router --json verdicts.json",
    )
    parser.add_argument("folder", type=Path, help="the run's folder, which has run.json")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts there too")
    given = parser.parse_args(arguments)
    console = Console()
    try:
        terms = read_terms(given.folder / "run.json")
        with console.status(f"reading the topics of {terms.bootstrap}"):
            found = judge(given.folder)
    except BadRun as error:
        print(f"can't judge: {error}", file=sys.stderr)
        return 2
    if given.json is not None:
        said = {"name": terms.name, "seed": terms.seed, "invariants": [each.as_json() for each in found]}
        given.json.write_bytes(orjson.dumps(said, option=orjson.OPT_INDENT_2))
    console.print(render(f"{terms.name}, seed {terms.seed}", found))
    return 0 if all(each.holds for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
