"""A ClickHouse that answers anything, to see what it is asked."""

from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from app.config import Settings
from app.store.queries import Queries

#: What the HTTP interface takes that is no setting, and what a read-only user has anyway.
NO_SETTINGS = {"database", "default_format", "wait_end_of_query", "readonly"}


async def asked_settings(queries: type[Queries]) -> set[str]:
    """The settings that a query and its judging are sent with."""
    names: set[str] = set()

    async def answer(request: web.Request) -> web.Response:
        names.update(name for name in request.query if not name.startswith("param_"))
        statement = (await request.read()).decode()
        if "formatQuerySingleLine" in statement:
            return web.Response(text="SHOW TABLES")
        empty: dict[str, Any] = {"meta": [], "data": [], "rows": 0}
        return web.json_response(empty)

    app = web.Application()
    app.router.add_post("/", answer)
    async with TestServer(app) as server:
        url = f"clickhouse://reader:x@127.0.0.1:{server.port}/notify"
        asking = queries(Settings.load({"TOCSIN_CLICKHOUSE__URL": url, "TOCSIN_CLICKHOUSE__QUERY_URL": url}))
        await asking.run("SHOW TABLES")
        await asking.close()
    return names - NO_SETTINGS
