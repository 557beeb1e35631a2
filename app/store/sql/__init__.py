"""SQL by name: each statement is a file of this folder."""

from importlib.resources import files
from itertools import takewhile
from string import Template


def statement(name: str, **parts: str) -> str:
    """The text of ``<name>.sql`` without the comment that heads it, ``$part`` replaced by its text."""
    lines = files(__name__).joinpath(f"{name}.sql").read_text("utf-8").splitlines()
    heading = sum(1 for _ in takewhile(lambda line: line.startswith("--"), lines))
    return Template("\n".join(lines[heading:])).substitute(parts)


def names(prefix: str) -> list[str]:
    """The statements whose names begin so, in order."""
    found = (entry.name.removesuffix(".sql") for entry in files(__name__).iterdir() if entry.name.endswith(".sql"))
    return sorted(name for name in found if name.startswith(prefix))


def quoted(text: str, mark: str = "'") -> str:
    """A string of SQL; with a backtick as ``mark`` a name."""
    return mark + text.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark
