"""What every part of a policy is checked for, and the problems found so far."""

from collections.abc import Container

from app.domain.policy.document import Document
from app.domain.policy.problems import Path, Problem

UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration_ms(text: str | int) -> int:
    """``10m`` in milliseconds; ``0`` needs no unit."""
    digits = str(text).rstrip("mshd")
    return int(digits) * UNITS_MS.get(str(text)[len(digits) :], 0)


class Checks:
    """Gathers problems. ``templates``: the ids that may be named; None: any."""

    def __init__(self, document: Document, templates: Container[str] | None) -> None:
        self._document = document
        self._templates = templates
        self.problems: list[Problem] = []

    def problem(self, path: Path, message: str, remedy: str) -> None:
        self.problems.append(self._document.problem(path, message, remedy))

    def duration(self, path: Path, text: str | int) -> int:
        """Milliseconds of a duration that mustn't be nothing."""
        ms = duration_ms(text)
        if ms == 0:
            self.problem(path, "is 0", "write a time above 0, such as 10m")
        return ms

    def known(self, path: Path, kind: str, name: str, among: Container[str]) -> bool:
        if name in among:
            return True
        self.problem(path, f"names the {kind} {name}, which isn't there", f"add that {kind}, or name another")
        return False

    def template(self, path: Path, name: str | None) -> None:
        if name is not None and self._templates is not None:
            self.known(path, "template", name, self._templates)
