"""The embedded ClickHouse of this machine: the analytics role runs it, the others find it by a file in ``data.dir``."""

import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from app.store.chdb_front import USER, ChdbFront

ANNOUNCEMENT = "analytics.json"


def announced_url(data_dir: Path) -> str | None:
    """``clickhouse://user:password@127.0.0.1:port/notify`` as the analytics role last wrote it; None if it never did.

    The role may have stopped since.
    """
    try:
        url = json.loads((data_dir / ANNOUNCEMENT).read_text())["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url if isinstance(url, str) else None


@asynccontextmanager
async def embedded_clickhouse(folder: Path, data_dir: Path) -> AsyncIterator[None]:
    """Serves the chDB folder on loopback while it is entered, at the port of last time if that is free.

    Raises RuntimeError when another process has the folder.
    """
    password = secrets.token_urlsafe(24)
    front = ChdbFront(folder, password)
    runner = web.AppRunner(front.app, access_log=None)
    try:
        await runner.setup()
        port = await _listen(runner, _last_port(data_dir))
        _announce(data_dir, f"clickhouse://{USER}:{password}@127.0.0.1:{port}/notify")
        yield
    finally:
        await runner.cleanup()
        front.close()


async def _listen(runner: web.AppRunner, wanted: int) -> int:
    try:
        site = web.TCPSite(runner, "127.0.0.1", wanted)
        await site.start()
    except OSError:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
    port: int = runner.addresses[0][1]
    return port


def _last_port(data_dir: Path) -> int:
    url = announced_url(data_dir)
    return urlsplit(url).port or 0 if url else 0


def _announce(data_dir: Path, url: str) -> None:
    """Replaces the file in one step; nobody but its owner ever can read it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    fresh = data_dir / f"{ANNOUNCEMENT}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({"url": url, "pid": os.getpid()}, file)
    fresh.replace(data_dir / ANNOUNCEMENT)
