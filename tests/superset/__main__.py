"""Serves a filled embedded ClickHouse, has Superset ask it, and judges what it saw."""

import asyncio
import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.store.announcement import announced_query_url
from app.store.clickhouse import connect
from app.store.embedded import embedded_clickhouse
from app.store.migrations import Kept, migrate
from app.store.query_users import QueryUsers, new_password
from tests.unit.store.conftest import settings_in
from tests.unit.store.history import delivery_hourly, history
from tests.unit.store.test_states import write
from tests.unit.store.test_views import VIEWS

_LIMIT_S = 300
#: Its own caches would lie in its database.
_CONFIG = """
SECRET_KEY = "{secret}"
SQLALCHEMY_DATABASE_URI = "sqlite:///{folder}/superset.db"
FILTER_STATE_CACHE_CONFIG = EXPLORE_FORM_DATA_CACHE_CONFIG = {{"CACHE_TYPE": "SimpleCache"}}
"""


async def seen(python: Path, folder: Path) -> tuple[dict[str, Any], int]:
    """What Superset saw, and how many events it should have counted."""
    settings, events = settings_in(folder), history(random.Random(3), 30)
    async with embedded_clickhouse(folder / "clickhouse", folder), await connect(settings, database=None) as client:
        await migrate(client, Kept())
        await write(client, events)
        password = new_password()
        QueryUsers(folder).add("superset", password)
        port = urlsplit(announced_query_url(folder) or "").port
        url = f"clickhousedb://superset:{password}@127.0.0.1:{port}/notify"
        config = folder / "superset_config.py"
        config.write_text(_CONFIG.format(secret=new_password(), folder=folder))
        asking = await asyncio.create_subprocess_exec(
            python,
            Path(__file__).with_name("asking.py"),
            url,
            env={**os.environ, "SUPERSET_CONFIG_PATH": str(config), "SUPERSET_HOME": str(folder), "PYTHONPATH": ""},
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            output, _ = await asyncio.wait_for(asking.communicate(), _LIMIT_S)
        finally:
            if asking.returncode is None:
                asking.kill()
    if asking.returncode:
        sys.exit(f"Superset's side ended with status {asking.returncode}")
    return json.loads(output.splitlines()[-1]), sum(row[-1] for row in delivery_hourly(events))


def main(python: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found, count = asyncio.run(seen(python, Path(folder)))
    print(json.dumps(found, indent=2))
    assert found["spec"] == "ClickHouseConnectEngineSpec"
    assert found["schemas"] == ["notify"]
    assert set(VIEWS) <= {*found["views"], *found["tables"]}
    assert found["columns"] == VIEWS["engagement"].split()
    assert sum(n for _, n in found["days"]) == count
    print("Superset's engine spec works with the embedded ClickHouse")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
