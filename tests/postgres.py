"""A PostgreSQL of the tests' own, in a folder and on a port of its own (Debian's package `postgresql`)."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.dev.ports import free_port
from tests.lacking import lacking

_LIMIT_S = 120


def _programs() -> Path | None:
    found = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)]
    on_path = shutil.which("initdb")
    return found[0] if found else Path(on_path).resolve().parent if on_path else None


class Postgres:
    """``dsn`` once it runs. Started as another user where the tests run as root, which it refuses."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder, self._programs = folder, programs
        self._port = free_port()
        self.dsn = f"postgresql://tocsin@127.0.0.1:{self._port}/postgres"

    def make(self) -> None:
        self._run("initdb", "-U", "tocsin", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")

    def start(self) -> None:
        options = f"-p {self._port} -h 127.0.0.1 -k '' -F"
        self._run("pg_ctl", "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def stop(self, how: str = "fast") -> None:
        self._run("pg_ctl", "-w", "-m", how, "stop")

    def _run(self, program: str, *options: str) -> None:
        command = [str(self._programs / program), "-D", str(self._folder / "data"), *options]
        done = subprocess.run(
            command,
            user=65534 if os.getuid() == 0 else None,
            group=65534 if os.getuid() == 0 else None,
            extra_groups=[] if os.getuid() == 0 else None,
            cwd="/",
            timeout=_LIMIT_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # (the server keeps it open)
            stderr=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.returncode}"


@contextmanager
def postgres() -> Iterator[Postgres]:
    programs = _programs()
    if programs is None:
        lacking("needs PostgreSQL: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="tocsin-postgres-"))
    if os.getuid() == 0:
        os.chown(folder, 65534, 65534)
    server = Postgres(folder, programs)
    try:
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
