"""A panel's SQL (``app/defaults/panels.toml``) as it is run: with its range of time, and its variables' values."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from app.store.sql import quoted

_TIME: Final = re.compile(r"\$__timeFilter\(((?:[^()]|\([^()]*\))*)\)")
_VARIABLE: Final = re.compile(r"\$\{(\w+):singlequote\}")


def expanded(sql: str, begin: str, end: str, values: Callable[[str], str]) -> str:
    """``begin``, ``end``: moments as SQL, both in the range. ``values``: by a variable's name what stands between the
    brackets of its ``IN``."""
    within = _TIME.sub(lambda found: f"({found[1]} >= {begin} AND {found[1]} <= {end})", sql)
    return _VARIABLE.sub(lambda found: values(found[1]), within).strip()


def listed(values: Iterable[object]) -> str:
    """Values that were chosen, as ``expanded`` takes them."""
    return ", ".join(quoted(str(value)) for value in values)
