"""What is wrong with a policy: where, what, and how to mend it."""

from dataclasses import dataclass

#: Where in the document: keys and positions from its root.
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """``line`` counts from 1, None where the document came without lines; ``path`` is dotted: ``caps[0].window``."""

    line: int | None
    path: str
    message: str
    remedy: str

    @property
    def words(self) -> str:
        """All but the line."""
        return f"{self.path}: {self.message}; {self.remedy}" if self.path else f"{self.message}; {self.remedy}"

    def __str__(self) -> str:
        return f"line {self.line}: {self.words}" if self.line else self.words


class PolicyError(Exception):
    """A policy that is refused; its ``problems``, in the order of the document: all of them, or the first hundred."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def dotted(path: Path) -> str:
    """``("caps", 0, "window")`` as ``caps[0].window``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
