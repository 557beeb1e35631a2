"""Folders of a process's own while it works. They may hold users' data, so none outlives its process for long: those of
processes that were killed go as soon as another one begins."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: A new folder may be taken for left behind in the moment before it is locked; hardly twice in a row.
_TRIES = 10


@contextmanager
def scratch_folder(kind: str, parent: Path | None = None) -> Iterator[Path]:
    """A folder that goes at the end. ``kind``: whose it is; ``parent``: where temporary files go. Raises OSError where
    there can be none, or where the file system can't lock it."""
    parent = parent or Path(tempfile.gettempdir())
    remove_left_behind(kind, parent)
    folder, lock = _made(kind, parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_left_behind(kind: str, parent: Path) -> None:
    """Removes the folders of that kind whose process is no more."""
    for folder in parent.glob(f"{_prefix(kind)}*"):
        with suppress(OSError):  # (it is in use, somebody else's, or gone meanwhile)
            lock = _locked(folder)
            try:
                shutil.rmtree(folder)
            finally:
                os.close(lock)


def _made(kind: str, parent: Path) -> tuple[Path, int]:
    """The folder, and what keeps others from removing it for as long as it is open."""
    failed: OSError | None = None
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=_prefix(kind), dir=parent))
        try:
            lock = _locked(folder)
        except OSError as error:  # somebody has just taken it for left behind, or nothing can be locked there
            failed = error
            shutil.rmtree(folder, ignore_errors=True)
            continue
        if folder.exists():
            return folder, lock
        os.close(lock)
    raise failed or OSError(f"{parent}: each new folder was removed at once")


def _locked(folder: Path) -> int:
    """Raises OSError where another process has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _prefix(kind: str) -> str:
    return f"tocsin-{kind}-"
