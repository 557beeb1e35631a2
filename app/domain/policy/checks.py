"""What every part of a policy is checked for, and the problems found so far."""

from collections.abc import Collection

from app.domain.policy.document import Document
from app.domain.policy.guesses import Guesses
from app.domain.policy.problems import Path, Problem
from app.domain.policy.sizes import MAX_PROBLEMS

UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

#: No time in a policy is longer, and no hold is spread over more.
LONGEST_DAYS = 366
LONGEST_SPREAD_HOURS = 12


def duration_ms(text: str | int) -> int:
    """``10m`` in milliseconds; ``0`` needs no unit."""
    if not isinstance(text, str):
        return 0  # the only number that the schema takes
    digits = text.rstrip("mshd")
    return int(digits) * UNITS_MS.get(text[len(digits) :], 0)


class Checks:
    """Gathers problems. ``templates``: the ids that may be named; None: any. ``stored``: what earlier versions took
    stays valid."""

    def __init__(self, document: Document, templates: Collection[str] | None, *, stored: bool = False) -> None:
        self._document = document
        self.stored = stored
        self._templates = templates
        self.guesses = Guesses()
        self.problems: list[Problem] = []

    def problem(self, path: Path, message: str, remedy: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(self._document.problem(path, message, remedy))

    def duration(self, path: Path, text: str | int) -> int:
        """Milliseconds of a duration that mustn't be nothing."""
        ms = self.duration_or_0(path, text)
        if ms == 0:
            self.problem(path, "is 0", "write a time above 0, such as 10m")
        return ms

    def duration_or_0(self, path: Path, text: str | int, most_ms: int = LONGEST_DAYS * UNITS_MS["d"]) -> int:
        ms = duration_ms(text)
        if ms > most_ms:
            self.problem(path, f"is {text}, which is too long", f"write at most {_in_words(most_ms)}")
        return ms

    def known(self, path: Path, kind: str, name: str, among: Collection[str]) -> bool:
        if name in among:
            return True
        if len(self.problems) >= MAX_PROBLEMS:
            return False
        close = self.guesses.closest(name, among)
        remedy = f"did you mean {close}? else add that {kind}" if close else f"add that {kind}, or name another"
        self.problem(path, f"names the {kind} {name}, which isn't there", remedy)
        return False

    def template(self, path: Path, name: str | None) -> None:
        if name is not None and self._templates is not None:
            self.known(path, "template", name, self._templates)


def _in_words(ms: int) -> str:
    days = ms // UNITS_MS["d"]
    return f"{days}d" if days else f"{ms // UNITS_MS['h']}h"
