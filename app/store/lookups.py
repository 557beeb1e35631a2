"""What tools look up of their own accord when they ask the embedded ClickHouse, and the formats that they ask for.

Drivers and dashboards look into ``system`` before they ask anything: for the version, settings, databases and tables.
That is answered with what there is of the database ``notify``, and with nothing else of ``system``.
"""

import re

from app.store.reading import DATABASE, QueryRefused

#: Formats that only write a result.
FORMATS = frozenset(
    (
        *("Native", "JSON", "JSONCompact", "JSONEachRow", "JSONCompactEachRow", "JSONStrings", "JSONColumns"),
        *("JSONCompactEachRowWithNamesAndTypes", "TabSeparated", "TabSeparatedWithNames", "TSV", "TSVWithNames"),
        *("TabSeparatedWithNamesAndTypes", "TSVWithNamesAndTypes", "CSV", "CSVWithNames", "CSVWithNamesAndTypes"),
        *("ArrowStream", "Arrow", "Parquet", "RowBinary", "RowBinaryWithNames", "RowBinaryWithNamesAndTypes"),
        *("Pretty", "PrettyCompact", "Vertical", "Values", "Markdown"),
    )
)
_NAMED = rf"[`\"']?{DATABASE}[`\"']?"
_NAMES = rf"SELECT name FROM system\.tables WHERE database = '{DATABASE}'"
_TABLES = f"SELECT DISTINCT table AS name FROM system.columns WHERE database = '{DATABASE}'"
#: What is asked, without line breaks, and the statement that answers it.
_LOOKUPS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), answer)
    for pattern, answer in (
        (r"SELECT version\(\)(?: AS \w+)?", "SELECT version()"),
        (r"SELECT version\(\), timezone\(\)", "SELECT version(), timezone()"),
        (r"SELECT currentDatabase\(\)", f"SELECT '{DATABASE}' AS `currentDatabase()`"),
        (
            r"SELECT name, value, readonly FROM system\.settings(?: LIMIT \d+)?",
            "SELECT '' AS name, '' AS value, toUInt8(1) AS readonly WHERE false",
        ),
        (r"SHOW DATABASES|SELECT name FROM system\.databases.*", f"SELECT '{DATABASE}' AS name"),
        (rf"EXISTS DATABASE {_NAMED}", "SELECT toUInt8(1) AS result"),
        (rf"SHOW TABLES (?:FROM|IN) {_NAMED}", "SHOW TABLES"),
        (
            rf"{_NAMES}(?: AND engine IN \('View', 'WindowView'\))? ORDER BY name",
            f"{_TABLES} ORDER BY name",
        ),
        (
            rf"{_NAMES} AND engine = 'MaterializedView' ORDER BY name",
            "SELECT '' AS name WHERE false",
        ),
        (
            rf"SELECT engine, engine_full, comment FROM system\.tables WHERE database = '{DATABASE}' AND name = '\w+'",
            "SELECT 'View' AS engine, '' AS engine_full, '' AS comment",
        ),
    )
)


def named_format(sql: str) -> tuple[str, str | None]:
    """The statement without the FORMAT at its end, and which one it names. In linear time, as anybody may write it: a
    regular expression would try each blank of a long run anew."""
    words = sql.rstrip().removesuffix(";").rsplit(None, 2)
    if len(words) == 3 and words[1].upper() == "FORMAT" and re.fullmatch(r"\w+", words[2]):
        return words[0], words[2]
    return sql, None


def as_asked(sql: str, default_format: str) -> tuple[str, str, bool]:
    """The statement, the format of its answer, and whether the statement is our own answer to a look-up: else it is to
    be judged. Raises QueryRefused."""
    bare, named = named_format(sql)
    format = named or default_format
    if format not in FORMATS:
        raise QueryRefused(f"FORMAT {format} is not served; the formats are {', '.join(sorted(FORMATS))}")
    flat = " ".join(bare.split()).rstrip("; ")
    own = next((answer for pattern, answer in _LOOKUPS if pattern.fullmatch(flat)), None)
    return (bare, format, False) if own is None else (own, format, True)
