"""Debian's packages, fetched with apt and unpacked into a folder of ours: it needs no root, and changes nothing of the
system's."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

#: The largest, Chromium on a bare machine, is 240 packages of 223 MB together; lists of packages are fetched where
#: there are none.
_LIMIT_S = 600


class NotFetched(Exception):
    """A package could not be had; the message says why."""


@contextmanager
def unpacked(package: str, folder: Path, environ: Mapping[str, str], *, with_libraries: bool) -> Iterator[Path]:
    """The package's files, in a place below ``folder`` that is deleted afterwards. Raises NotFetched.

    ``with_libraries``: also those of every package that it depends on and the system lacks.
    """
    missing = [name for name in ("apt-get", "dpkg-deb") if shutil.which(name, path=environ.get("PATH")) is None]
    if missing:
        raise NotFetched(f"there is no {' and no '.join(missing)}")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        files = scratch / "files"
        files.mkdir()
        for fetched in _fetch(package, scratch, environ, with_libraries):
            failed = _run(["dpkg-deb", "--extract", str(fetched), str(files)], scratch, environ)
            if failed is not None:
                raise NotFetched(failed)
        yield files


def _fetch(package: str, scratch: Path, environ: Mapping[str, str], with_libraries: bool) -> Sequence[Path]:
    packages = scratch / "packages"
    for folder in (packages / "partial", scratch / "lists" / "partial"):
        folder.mkdir(parents=True)
    apt = ["apt-get", "-oDebug::NoLocking=1", f"-oDir::Cache={scratch}/cache", "-oAPT::Sandbox::User="]
    if with_libraries:
        apt.append(f"-oDir::Cache::archives={packages}")
        get = ["--yes", "--no-install-recommends", "--reinstall", "--download-only", "install", package]
    else:
        get = ["download", package]
    failed = _run([*apt, *get], packages, environ)
    if failed is not None:
        apt.append(f"-oDir::State::Lists={scratch}/lists")
        _run([*apt, "update"], packages, environ)
        failed = _run([*apt, *get], packages, environ)
    fetched = sorted(packages.glob("*.deb"))
    if failed is not None or not fetched:
        raise NotFetched(failed or "apt-get brought nothing")
    return fetched


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
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"{command[0]} ended with {done.returncode}"
