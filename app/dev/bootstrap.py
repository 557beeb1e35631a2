"""Makes the virtual environment from the hash-pinned requirements: ``python3 app/dev/bootstrap.py``.

Runs on a bare Python 3.11 or newer, before anything is installed; so it is a script and imports the standard library
only. The second time it finds its stamp and is done.
"""

import fcntl
import hashlib
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

MINIMUM = (3, 11)
REPOSITORY = Path(__file__).resolve().parents[2]
VENV = REPOSITORY / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed"
PATHS = (REPOSITORY, REPOSITORY / "clients" / "python")
INPUTS = ("requirements-uv.txt", "requirements.txt")

_COMMAND = """\
#!{python}
from app.cli import main

main()
"""


class SetupFailed(Exception):
    """What couldn't be had; the message says what to do."""


def main() -> int:
    if sys.version_info < MINIMUM:
        print(f"Tocsin needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}", file=sys.stderr)
        return 1
    VENV.mkdir(exist_ok=True)
    with (VENV / "setup.lock").open("w") as lock:  # not .lock, which is uv's
        fcntl.flock(lock, fcntl.LOCK_EX)  # two at once: the second finds the stamp
        try:
            if not is_installed():
                install()
            _install_ourselves()  # another revision may have other paths
        except SetupFailed as error:
            print(f"setup: {error}", file=sys.stderr)
            return 1
    return 0


def wanted() -> str:
    """What the stamp says when all is installed: a hash of the requirements and of where they are installed."""
    digest = hashlib.sha256(str(REPOSITORY).encode())
    for name in INPUTS:
        digest.update((REPOSITORY / name).read_bytes())
    return digest.hexdigest()


def is_installed() -> bool:
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text() == wanted()


def install() -> None:
    """Makes the environment, uv in it, and the requirements by uv. Raises SetupFailed."""
    STAMP.unlink(missing_ok=True)
    print("Installing the requirements into .venv …", flush=True)
    network = "PyPI must be reachable: check the network, or your proxy (HTTPS_PROXY) and mirror"
    _run(
        (sys.executable, "-m", "venv", VENV),
        "Python's venv doesn't work here: on Debian and Ubuntu run `apt install python3-venv`, then delete .venv",
    )
    pinned = ("install", "--require-hashes", "-r")
    _run(
        (PYTHON, "-m", "pip", "--quiet", "--disable-pip-version-check", *pinned, REPOSITORY / "requirements-uv.txt"),
        f"uv can't be installed. {network} (PIP_INDEX_URL)",
    )
    uv = (VENV / "bin" / "uv", "pip", *pinned, REPOSITORY / "requirements.txt", "--python", PYTHON)
    # What is pinned by hash is as good from uv's cache; asking PyPI whether it is fresh may take minutes.
    if not _works((*uv, "--offline", "--quiet")):
        quietly = () if sys.stderr.isatty() else ("--quiet",)  # 1.4 GB: on a terminal uv shows how far it is
        _run((*uv, *quietly), f"the requirements can't be installed. {network} (UV_DEFAULT_INDEX)")
    STAMP.write_text(wanted())


def _install_ourselves() -> None:
    """The repository and its client on the environment's path, and ``.venv/bin/tocsin``: what an editable install does,
    but without a build, which would fetch a build system."""
    site_packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(VENV), "platbase": str(VENV)}))
    _write(site_packages / "tocsin.pth", "".join(f"{path}\n" for path in PATHS))
    command = VENV / "bin" / "tocsin"
    _write(command, _COMMAND.format(python=PYTHON))
    command.chmod(0o755)


def _write(file: Path, text: str) -> None:
    """Not what is there already: somebody may be reading it."""
    if not file.exists() or file.read_text() != text:
        file.write_text(text)


def _run(command: Sequence[str | Path], remedy: str) -> None:
    if subprocess.run(list(map(str, command))).returncode:
        raise SetupFailed(remedy)


def _works(command: Sequence[str | Path]) -> bool:
    return subprocess.run(list(map(str, command)), capture_output=True).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
