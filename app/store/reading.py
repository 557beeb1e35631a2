"""Which SQL may be run for somebody else: one statement that reads the database ``notify`` and reaches nothing else.

What is allowed is listed; all else is refused. A SELECT is judged on ClickHouse's own parse of it (``EXPLAIN AST``), so
that no spelling gets past: its tables, its functions (``query_functions.txt``) and each kind of node in the tree.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

DATABASE = "notify"
#: Much longer than a query may be.
MAX_SQL_BYTES = 64 * 1024


class QueryRefused(Exception):
    """A query that can't be run as it is; the message is for whoever wrote it."""


class NotThere(Exception):
    """The database hasn't been made yet; the message says what to do."""

    def __init__(self) -> None:
        super().__init__("ClickHouse has no database notify yet: start the analytics role, which makes it")


_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_TABLE = rf"(?:{DATABASE}\.)?{_NAME}"
#: Statements that are allowed in just these shapes, as ClickHouse's formatter writes them.
_PLAIN = re.compile(
    rf"(?:DESCRIBE TABLE|EXISTS TABLE|EXISTS VIEW|SHOW CREATE TABLE|SHOW CREATE VIEW|SHOW COLUMNS FROM) {_TABLE}"
    rf"|SHOW TABLES(?: FROM {DATABASE})?(?: LIKE '[A-Za-z0-9_%]*')?"
)
_SELECT = re.compile(r"\(*(?:SELECT|WITH)\b")
#: What tools look up of their own accord.
_SYSTEM_TABLES = frozenset(("system.columns", "system.one"))
_QUOTED_NAME = re.compile(r"'(?:[^'\\]|\\.)*'|(`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\")", re.DOTALL)
_ODD_IN_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\\\u2028\u2029]")

#: As ClickHouse names it: with the database, or as the query did.
_FIRST_TABLE = re.compile(rf"(?:\b{DATABASE}\.|identifier ['`‘])lifecycle\b")
_LINE = re.compile(r"(?P<indent> *)(?P<kind>[A-Za-z:]+)(?: (?P<rest>.*))?")
_NODES = frozenset(
    (
        *("SelectWithUnionQuery", "SelectIntersectExceptQuery", "SelectQuery", "ExpressionList", "Subquery"),
        *("TablesInSelectQuery", "TablesInSelectQueryElement", "TableExpression", "TableIdentifier", "TableJoin"),
        *("ArrayJoin", "SampleRatio", "WithElement", "Function", "Identifier", "Literal", "OrderByElement"),
        *("InterpolateElement", "WindowDefinition", "WindowListElement", "Asterisk", "QualifiedAsterisk"),
        *("ColumnsRegexpMatcher", "ColumnsListMatcher", "QualifiedColumnsRegexpMatcher", "QualifiedColumnsListMatcher"),
        *("ColumnsTransformerList", "ColumnsExceptTransformer", "ColumnsReplaceTransformer"),
        "ColumnsReplaceTransformer::Replacement",
    )
)
_IN = frozenset(name.lower() for name in ("in", "notIn", "globalIn", "globalNotIn", "nullIn", "notNullIn"))
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0", "\b": "\\b", "\f": "\\f"}
_COMBINATORS = re.compile(
    r"(?:SimpleState|State|MergeState|Merge|ForEach|Distinct|OrDefault|OrNull|Resample|ArgMin|ArgMax|Array|Map|If)$"
)


def check_statement(formatted: str, tree: str) -> None:
    """Raises QueryRefused.

    Args:
        formatted: one statement in ClickHouse's own spelling (``formatQuerySingleLine``), without comments.
        tree: what ``EXPLAIN AST`` answers for just that text; ignored where ``needs_tree`` is False.
    """
    if not needs_tree(formatted):
        return
    if any(name and _ODD_IN_NAME.search(name) for name in _QUOTED_NAME.findall(formatted)):
        raise QueryRefused("names with control characters or backslashes are not allowed")
    lines = list(_lines(tree))
    for position, (_, kind, rest) in enumerate(lines):
        if kind == "Set":
            raise QueryRefused("SETTINGS is not allowed")
        if kind not in _NODES:
            raise QueryRefused(f"a statement with {kind} is not allowed")
        if kind == "TableExpression":
            _check_source(lines[position + 1])
        elif kind == "TableIdentifier":
            _check_table(_first_word(rest))
        elif kind == "Function":
            _check_function(_first_word(rest))
            if _first_word(rest).lower() in _IN:
                _check_set(lines, position)
        elif kind == "SelectWithUnionQuery":
            _check_output(_children(lines, position))


def needs_tree(formatted: str) -> bool:
    """Whether the statement is to be judged by its tree; False: it is allowed as it stands. Raises QueryRefused."""
    if _PLAIN.fullmatch(formatted):
        return False
    if not _SELECT.match(formatted):
        raise QueryRefused("only SELECT and WITH, and DESCRIBE, SHOW and EXISTS of plain names, are allowed")
    return True


def explain(formatted: str) -> str:
    """The statement that answers with the tree of ``formatted``. It parses, and resolves no name."""
    return f"EXPLAIN AST {formatted}"


def as_parameter(text: str) -> str:
    """A parameter's value as ClickHouse reads it: tab-separated, escaped."""
    return re.sub(r"[\\\t\n\r\0\b\f]", lambda found: _ESCAPES[found[0]], text)


def is_not_there_yet(error: str) -> bool:
    """Whether ClickHouse's error means that the analytics role hasn't made the database, or its first table, yet."""
    return "UNKNOWN_DATABASE" in error or ("UNKNOWN_TABLE" in error and _FIRST_TABLE.search(error) is not None)


def refusal(error: str, sql: str) -> QueryRefused:
    """ClickHouse's error in our words: its kind and place, and of its text only names that the query itself has."""
    kind = re.search(r"\(([A-Z][A-Z0-9_]{2,})\)", error)
    place = re.search(r"failed at position (\d+)", error)
    names = [name for name in dict.fromkeys(re.findall(r"[`'‘]([\w.]{1,100})[`'’]", error)) if name in sql]
    reason = kind[1].replace("_", " ").lower() if kind else "it can't be run"
    where = f" at position {place[1]}" if place else ""
    of = f": {', '.join(names[:3])}" if names else ""
    return QueryRefused(f"ClickHouse refuses the statement: {reason}{of}{where}")


_Node = tuple[int, str, str]


def _lines(tree: str) -> Iterator[_Node]:
    for line in tree.split("\n"):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise QueryRefused("the statement can't be judged: use plain names")
        yield len(found["indent"]), found["kind"], found["rest"] or ""


def _children(lines: list[_Node], position: int) -> Iterator[tuple[int, _Node]]:
    """The positions and nodes right below the one at ``position``."""
    depth = lines[position][0] + 1
    for index in range(position + 1, len(lines)):
        if lines[index][0] < depth:
            return
        if lines[index][0] == depth:
            yield index, lines[index]


def _check_source(node: _Node) -> None:
    """What stands in FROM: a name or a subquery, never a table function."""
    _, kind, rest = node
    if kind == "Function":
        raise QueryRefused(f"the table function {_first_word(rest)} is not allowed")
    if kind not in ("TableIdentifier", "Subquery"):
        raise QueryRefused("FROM takes tables and views of the database notify, and subqueries")


def _check_table(name: str) -> None:
    if not re.fullmatch(_TABLE, name) and name not in _SYSTEM_TABLES:
        raise QueryRefused(f"{name}: only tables and views of the database {DATABASE} may be read")


def _check_set(lines: list[_Node], position: int) -> None:
    """``x IN name`` reads a table, though the tree has it as any other name."""
    for arguments, _ in _children(lines, position):
        for _, (_, kind, rest) in list(_children(lines, arguments))[1:]:
            if kind == "Identifier":
                _check_table(_first_word(rest))


def _check_function(name: str) -> None:
    base = name
    while base.lower() not in _functions():
        shorter = _COMBINATORS.sub("", base)
        if shorter == base or not shorter:
            raise QueryRefused(f"the function {name} is not allowed")
        base = shorter


def _check_output(children: Iterator[tuple[int, _Node]]) -> None:
    """Beside its SELECTs a query has FORMAT, SETTINGS or INTO OUTFILE."""
    if any(kind != "ExpressionList" for _, (_, kind, _) in children):
        raise QueryRefused("FORMAT, SETTINGS and INTO OUTFILE are not allowed")


def _first_word(rest: str) -> str:
    return rest.split(" ", 1)[0]


@cache
def _functions() -> frozenset[str]:
    lines = Path(__file__).with_name("query_functions.txt").read_text().splitlines()
    return frozenset(name.lower() for line in lines if not line.startswith("#") for name in line.split())
