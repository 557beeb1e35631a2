"""A misshapen policy without what is misshapen in it, so that what else is wrong can be told at the same time."""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from app.domain.policy.document import Document
from app.domain.policy.problems import Path
from app.domain.policy.schema import misshapen

#: What stands for an entry that can't be read: its name is there, whoever names it is right.
_STANDS_FOR: dict[str, dict[str, Any]] = {
    "categories": {},
    "digests": {"template": "unread", "window": "1m"},
    "event_types": {},
    "caps": {"name": "_unread_", "limit": 1, "window": "1h"},
}
_NAMED = ("categories", "digests")


def mended(document: Document, broken: Iterable[Path]) -> tuple[Document, tuple[Path, ...]] | None:
    """The document without its ``broken`` parts, and the entries that others stand for in it; None: nothing useful
    can be said of what is left."""
    paths = list(broken)
    if any(_hides_names(path, document.root) for path in paths):
        return None
    root = deepcopy(document.root)
    for path in paths:
        _cut(root, path)
    replaced = []
    for path, _ in misshapen(Document(root)):  # an entry that lacks what was cut from it
        if len(path) < 2 or path[0] not in _STANDS_FOR:
            return None
        section, name = path[:2]
        root[section][name] = {
            **_STANDS_FOR[str(section)],
            **({"name": f"_unread_{name}"} if section == "caps" else {}),
        }
        replaced.append(path[:2])
    return Document(root, document.lines), tuple(replaced)


def _hides_names(path: Path, root: Any) -> bool:
    """Whether nobody can tell any more which categories and digests there are: a section is broken or misspelt."""
    return not isinstance(root, dict) or (len(path) == 1 and (path[0] in _NAMED or path[0] not in _SECTIONS))


_SECTIONS = frozenset(
    [
        "timezone",
        "defaults",
        "critical",
        "categories",
        "caps",
        "digests",
        "event_types",
        "providers",
        "retries",
        "failover",
        "devices",
        "in_doubt",
        "sms",
        "shed",
    ]
)


def _cut(root: Any, path: Path) -> None:
    """Takes out the value at a path; of a list the whole list, as positions name what is in it. An entry is emptied."""
    if path[0] in _STANDS_FOR and len(path) == 2:
        root[path[0]][path[1]] = {}
        return
    while path and isinstance(path[-1], int):
        path = path[:-1]
    within = root
    for part in path[:-1]:
        if not isinstance(within, dict | list) or (isinstance(within, dict) and part not in within):
            return  # cut already
        within = within[part]  # type: ignore[index]
    if isinstance(within, dict):
        within.pop(path[-1], None)
