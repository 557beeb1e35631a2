"""A worker's clock is the machine's; a test may put it off by a file, at any moment."""

import time
from pathlib import Path

from app.streaming import clocks


def test_without_the_variable_it_is_the_machines_clock() -> None:
    assert clocks.of({}) is clocks.unix_ms
    assert abs(clocks.unix_ms() - time.time() * 1000) < 60_000


def test_a_file_puts_it_off_while_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "off_by"
    file.write_text("0")
    clock = clocks.of({clocks.VARIABLE: str(file)})
    before = clock()
    file.write_text("-7200000")
    assert clock() < before - 7_000_000
