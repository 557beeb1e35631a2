"""Finds Prometheus' promtool, which tests the alert rules: the system's, else that of Debian's package, unpacked into a
folder of ours. ``python -m app.dev promtool`` prints where it is."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from app.dev.alone import alone_in
from app.dev.debian import NotFetched, unpacked

#: It has 19 MB.
_PACKAGE = "prometheus"


class NoPromtool(Exception):
    """There is no promtool; the message says what to do."""


def ensure_promtool(folder: Path, environ: Mapping[str, str]) -> Path:
    """The program to use. What is fetched stays in ``folder``. Raises NoPromtool."""
    if found := shutil.which("promtool", path=environ.get("PATH")):
        return Path(found)
    folder = folder.absolute()
    program = folder / "promtool"
    with alone_in(folder):
        if not program.is_file():
            try:
                with unpacked(_PACKAGE, folder, environ, with_libraries=False) as files:
                    _take(files, program)
            except NotFetched as error:
                raise _no_promtool(str(error)) from error
    return program


def _take(files: Path, program: Path) -> None:
    held = files / "usr" / "bin" / "promtool"
    if not held.is_file():
        raise NotFetched("the package holds none")
    held.rename(program)


def _no_promtool(why: str) -> NoPromtool:
    return NoPromtool(
        f"the alert rules are tested by promtool, and there is none on the PATH; Debian's package {_PACKAGE} could not "
        f"be fetched either ({why}). Install Prometheus (Debian, Ubuntu: `apt install prometheus`), or put promtool on "
        "the PATH, then try again"
    )
