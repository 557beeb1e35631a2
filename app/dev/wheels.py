"""Programs out of wheels that a requirements file pins by hash, each in a folder of ours: only tests run them."""

import shutil
import subprocess
import sys
from pathlib import Path

from app.dev.alone import alone_in

#: They have up to 80 MB.
_LIMIT_S = 600


class NotFetched(Exception):
    """The message says why."""


def unpacked(requirements: Path, folder: Path) -> Path:
    """Where the wheel lies, below ``folder``, which one process at a time fills. Raises NotFetched."""
    wheel, stamp = folder / "wheel", folder / "pinned"
    with alone_in(folder):
        pinned = requirements.read_text()
        if not stamp.is_file() or stamp.read_text() != pinned:
            shutil.rmtree(wheel, ignore_errors=True)
            _fetch(requirements, wheel)
            stamp.write_text(pinned)
    return wheel


def _fetch(requirements: Path, wheel: Path) -> None:
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", sys.executable]
    command = [*uv, "--target", str(wheel), "--require-hashes", "--requirements", str(requirements)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotFetched(repr(error)) from error
    if done.returncode:
        raise NotFetched(done.stderr.strip()[-500:])
