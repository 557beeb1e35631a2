"""The embedded ClickHouse of this machine, run by the analytics role alone. Importing this loads chDB: 250 MB."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from app.store.announcement import announce, announced_url
from app.store.chdb_front import READER, USER, ChdbFront
from app.store.query_users import QueryUsers
from app.store.reading import DATABASE

#: How long requests in hand may take when the role stops.
_GRACE_S = 2.0


@asynccontextmanager
async def embedded_clickhouse(folder: Path, data_dir: Path) -> AsyncIterator[None]:
    """Serves the chDB folder on loopback while it is entered, at the port of last time if that is free.

    Raises RuntimeError when another process has the folder.
    """
    password, reader_password = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    front = ChdbFront(folder, password, reader_password, QueryUsers(data_dir))
    runner = web.AppRunner(front.app, access_log=None, shutdown_timeout=_GRACE_S, auto_decompress=False)
    try:
        await runner.setup()
        port = await _listen(runner, _last_port(data_dir))
        at = f"127.0.0.1:{port}/{DATABASE}"
        announce(data_dir, f"clickhouse://{USER}:{password}@{at}", f"clickhouse://{READER}:{reader_password}@{at}")
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
