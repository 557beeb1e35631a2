"""Where the embedded ClickHouse listens: a file in ``data.dir`` for its owner's eyes only, as it holds a password."""

import json
import os
from pathlib import Path

from app.private import write_private

_FILE = "analytics.json"


def announce(data_dir: Path, url: str, query_url: str) -> None:
    """Replaces the file in one step. ``query_url``: of the user who may only read."""
    announced = {"url": url, "query_url": query_url, "pid": os.getpid()}
    write_private(data_dir / _FILE, json.dumps(announced).encode())


def announced_url(data_dir: Path) -> str | None:
    """``clickhouse://user:password@127.0.0.1:port/notify`` as the analytics role last wrote it; None if it never did.

    The role may have stopped since.
    """
    return _announced(data_dir, "url")


def announced_query_url(data_dir: Path) -> str | None:
    """The same for the user who may only read."""
    return _announced(data_dir, "query_url")


def _announced(data_dir: Path, name: str) -> str | None:
    try:
        url = json.loads((data_dir / _FILE).read_text())[name]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url if isinstance(url, str) else None
