"""Which format a statement names, and that a hostile one can't hold up the process that looks for it."""

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


#: So long that a scan whose cost grows with the square takes hours, and hits the limit of every test.
_BLANKS = " " * 2_000_000


@pytest.mark.parametrize("sql", [f"SELECT {_BLANKS}1", f"SELECT 1 FORMAT CSV{_BLANKS}x", " \n;" * 700_000])
def test_the_cost_of_a_long_run_of_blanks_is_linear(sql: str) -> None:
    assert as_asked(sql, "CSV")[2] is False
