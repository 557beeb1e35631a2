"""Which SQL may be run for somebody else: one statement that only reads, and only what is in the database."""

import re


class QueryRefused(Exception):
    """A query that can't be run as it is; the message is for whoever wrote it."""


_STATEMENTS = re.compile(r"\(*(SELECT|WITH|SHOW|DESCRIBE|EXPLAIN|EXISTS)\b", re.IGNORECASE)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`", re.DOTALL)
#: What ``readonly`` lets pass though it reads or writes files of the server.
_FILES = re.compile(r"\bINTO OUTFILE\b|\bfile\s*\(", re.IGNORECASE)


def refuse_all_but_reading(formatted: str) -> None:
    """``formatted``: one statement in ClickHouse's own spelling, without comments. Raises QueryRefused."""
    bare = _QUOTED.sub("''", formatted)
    if not _STATEMENTS.match(bare):
        raise QueryRefused("only SELECT, WITH, SHOW, DESCRIBE, EXPLAIN and EXISTS are allowed")
    if _FILES.search(bare):
        raise QueryRefused("the server's files are out of bounds: no file(), no INTO OUTFILE")
