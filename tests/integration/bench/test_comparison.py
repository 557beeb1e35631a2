"""The comparison, small: the loop in memory, the router and a stock Faust app make the same sends."""

from pathlib import Path

import pytest
from rich.console import Console

from bench.comparison import Sizes, compare
from bench.run import Run

pytestmark = pytest.mark.kafka


async def test_all_three_make_the_same_sends(tmp_path: Path) -> None:
    run = Run(Console(quiet=True), folder=tmp_path)

    await compare(run, Sizes(users=30, warm=0, events=400, stock_warm=0, stock_events=100))

    measured = {(f.case, f.name) for f in run.figures}
    assert measured >= {(case, "cpu") for case in ("memory", "router", "stock")}
    assert all(f.value > 0 for f in run.figures)
