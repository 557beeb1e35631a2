"""Node.js for tests, and packages from npm in folders of ours."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.dev.alone import alone_in
from app.dev.node import NoNode, ensure_node
from tests.lacking import lacking

_FETCH_S = 300


def environment() -> dict[str, str]:
    """The one that has node and npm."""
    try:
        return ensure_node(Path(".tocsin/node"), os.environ)
    except NoNode as error:
        lacking(str(error))


@contextmanager
def installed(project: Path, name: str, node: dict[str, str]) -> Iterator[Path]:
    """A folder of ours, for one process at a time, with what the ``package-lock.json`` of a project pins."""
    folder = Path(".tocsin", name).absolute()
    with alone_in(folder):
        pinned, stamp = (project / "package-lock.json").read_bytes(), folder / "installed"
        if not stamp.exists() or stamp.read_bytes() != pinned:
            for file in ("package.json", "package-lock.json"):
                shutil.copy(project / file, folder)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
            fetched = subprocess.run(command, cwd=folder, env=node, capture_output=True, text=True, timeout=_FETCH_S)
            if fetched.returncode:
                lacking(f"npm can't fetch what {project} pins: {fetched.stderr[-500:]}")
            stamp.write_bytes(pinned)
        yield folder
