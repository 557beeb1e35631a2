"""What Tocsin keeps on disk is its owner's alone: folders 0700, files 0600."""

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_OTHERS = 0o077


def keep_private() -> None:
    """Whatever this process and its children create from now on is their owner's alone. For where a process starts,
    and nowhere else."""
    os.umask(_OTHERS)


def write_private(path: Path, content: bytes) -> None:
    """Writes a file that only its owner can read, in one step: a reader sees all of it or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # (A name of its own, as two may write at once; mkstemp makes it its owner's alone.)
    descriptor, name = tempfile.mkstemp(".partial", f"{path.name}.", path.parent)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def narrow(*trees: Path, alone: Iterable[Path] = ()) -> int:
    """Takes the group's and others' rights from files and folders that were left wider, by an earlier version for
    instance, as far as they are ours. ``trees``: with all that is in them. Returns how many there were."""
    found = [path for tree in trees for path in _all_of(tree)]
    narrowed = [path for path in (*alone, *found) if _narrow(path)]
    if narrowed:
        log.warning("narrowed file modes: others had access here", count=len(narrowed), first=str(narrowed[0]))
    return len(narrowed)


def _all_of(tree: Path) -> Iterator[Path]:
    """The folder first: what is in it is out of others' reach then."""
    yield tree
    for folder, names, files in os.walk(tree):  # follows no links
        yield from (Path(folder, name) for name in (*names, *files))


def _narrow(path: Path) -> bool:
    try:
        status = path.lstat()
        is_kept = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        is_shared = bool(status.st_mode & stat.S_ISVTX)  # such as /tmp
        if not is_kept or is_shared or status.st_uid != os.geteuid() or not status.st_mode & _OTHERS:
            return False
        path.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS)
    except FileNotFoundError:  # others are at work there
        return False
    except OSError as error:
        log.warning("can't narrow file modes: others have access here", path=str(path), reason=error.strerror)
        return False
    return True
