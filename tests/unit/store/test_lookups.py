"""Which format a statement names, and that a hostile one can't hold up the process that looks for it."""

import time

import pytest

from app.store.lookups import as_asked, named_format


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT 1 FORMAT CSV", ("SELECT 1", "CSV")),
        ("SELECT 1\n format\tNative ;\n", ("SELECT 1", "Native")),
        ("SELECT 1", ("SELECT 1", None)),
        ("SELECT FORMAT CSV()", ("SELECT FORMAT CSV()", None)),
        ("", ("", None)),
    ],
)
def test_the_format_is_what_stands_at_the_end(sql: str, found: tuple[str, str | None]) -> None:
    assert named_format(sql) == found


@pytest.mark.parametrize("sql", [f"SELECT {' ' * 60_000}1", f"SELECT 1 FORMAT CSV{' ' * 60_000}x", " \n;" * 20_000])
def test_a_long_run_of_blanks_takes_no_time(sql: str) -> None:
    began = time.process_time()
    as_asked(sql, "CSV")

    assert time.process_time() - began < 0.5
