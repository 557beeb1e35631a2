"""What a check found: how much it covered, what it could not cover, and each difference with its place."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Check = Literal["balance", "state", "decisions", "sink"]
CHECKS: tuple[Check, ...] = get_args(Check)

#: So many differences are kept of a check; all are counted.
MOST_SHOWN = 100
#: A key may be as long as a user id, and a row's key longer.
_KEY_CHARS = 300


@dataclass(frozen=True, slots=True)
class Difference:
    """``where``: the topic, table or view. ``key``: the user's, or the row's. ``position``: an offset, or None where no
    record is left to name; ``what`` says what was expected and what is there."""

    where: str
    partition: int
    key: str
    position: int | None
    what: str

    def as_json(self) -> dict[str, Any]:
        return {
            "where": self.where,
            "partition": self.partition,
            "key": self.key,
            "position": self.position,
            "what": self.what,
        }


@dataclass(slots=True)
class Finding:
    """One check's result. ``covered`` and ``not_covered``: how many of what. ``failed``: why the check broke off."""

    check: Check
    covered: Counter[str] = field(default_factory=Counter)
    not_covered: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    count: int = 0
    failed: str | None = None

    @property
    def holds(self) -> bool:
        return self.failed is None and not self.count

    def differs(self, where: str, partition: int, key: str | bytes, position: int | None, what: str) -> None:
        self.count += 1
        if len(self.differences) < MOST_SHOWN:
            self.differences.append(Difference(where, partition, shown(key), position, what))

    def as_json(self) -> dict[str, Any]:
        return {
            "check": self.check,
            "holds": self.holds,
            "failed": self.failed,
            "covered": _counts(self.covered),
            "not_covered": _counts(self.not_covered),
            "differences": [each.as_json() for each in self.differences],
            "difference_count": self.count,
        }


#: Called with how much is done, and of how much.
Progress = Callable[[int, int], None]


def shown(key: str | bytes) -> str:
    """A key as text: control characters, and bytes that aren't UTF-8, are escaped."""
    text = key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else key
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= _KEY_CHARS else f"{text[:_KEY_CHARS]}…"


def _counts(counts: Mapping[str, int]) -> dict[str, int]:
    return {what: count for what, count in counts.items() if count}
