"""The modes of files and folders, as far as others are concerned."""

import os
import stat
from pathlib import Path


def open_to_others(tree: Path) -> list[str]:
    """What in a tree the group or others have any right to, with its mode; links aside."""
    found = [tree, *(Path(folder, name) for folder, names, files in os.walk(tree) for name in (*names, *files))]
    wide = []
    for path in found:
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:  # gone meanwhile
            continue
        if not stat.S_ISLNK(mode) and mode & 0o077:
            wide.append(f"{stat.filemode(mode)} {path}")
    return wide
