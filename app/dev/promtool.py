"""Finds Prometheus' promtool, which tests the alert rules: the system's, else that of Debian's package, unpacked into a
folder of ours. ``python -m app.dev promtool`` prints where it is."""

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_PACKAGE = "prometheus"
#: The package has 19 MB; lists of packages are fetched where there are none.
_LIMIT_S = 300


class NoPromtool(Exception):
    """There is no promtool; the message says what to do."""


def ensure_promtool(folder: Path, environ: Mapping[str, str]) -> Path:
    """The program to use. What is fetched stays in ``folder``. Raises NoPromtool."""
    if found := shutil.which("promtool", path=environ.get("PATH")):
        return Path(found)
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "promtool"
    with _alone(folder / "lock"):  # two at once: the second finds it
        if not program.is_file():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                _fetch(Path(scratch), environ).rename(program)
    return program


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(scratch: Path, environ: Mapping[str, str]) -> Path:
    missing = [name for name in ("apt-get", "dpkg-deb") if shutil.which(name, path=environ.get("PATH")) is None]
    if missing:
        raise _no_promtool(f"there is no {' and no '.join(missing)}")
    packages = scratch / "packages"
    packages.mkdir()
    # With lists of its own it needs no root, and changes nothing of the system's.
    own = [f"-oDir::State::Lists={scratch}/lists", f"-oDir::Cache={scratch}/cache", "-oAPT::Sandbox::User="]
    (scratch / "lists" / "partial").mkdir(parents=True)
    failed = _run(["apt-get", "download", _PACKAGE], packages, environ)
    if failed is not None:
        _run(["apt-get", *own, "update"], packages, environ)
        failed = _run(["apt-get", *own, "download", _PACKAGE], packages, environ)
    fetched = next(packages.glob("*.deb"), None)
    if fetched is None:
        raise _no_promtool(failed or "apt-get brought nothing")
    failed = _run(["dpkg-deb", "--extract", str(fetched), str(scratch / "files")], packages, environ)
    program = scratch / "files" / "usr" / "bin" / "promtool"
    if failed is not None or not program.is_file():
        raise _no_promtool(failed or f"{fetched.name} holds none")
    return program


def _run(command: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> str | None:
    """Returns why it failed, None where it didn't."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env=dict(environ), capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return repr(error)
    if not done.returncode:
        return None
    said = done.stderr.strip().splitlines()
    return said[-1] if said else f"{command[0]} ended with {done.returncode}"


def _no_promtool(why: str) -> NoPromtool:
    return NoPromtool(
        f"the alert rules are tested by promtool, and there is none on the PATH; Debian's package {_PACKAGE} could not "
        f"be fetched either ({why}). Install Prometheus (Debian, Ubuntu: `apt install prometheus`), or put promtool on "
        "the PATH, then try again"
    )
