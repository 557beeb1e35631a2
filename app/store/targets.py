"""Tells ClickHouse in which time sends should be out, by version of the policy: ``slo_hourly`` counts by it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from clickhouse_connect.driver import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from app.domain.catalog import Catalog
from app.store.clickhouse import Unavailable
from schemas.words import PRIORITIES

log = structlog.get_logger(__name__)

#: Of what has no target.
NO_TARGET = -1
_PAUSE_S = 5.0
_COLUMNS = ("policy_version", "category", "priority", "target_ms")


async def write_targets(client: AsyncClient, catalog: Catalog) -> None:
    """May be repeated."""
    policy, version = catalog.policy, catalog.policy_version
    rows = [
        (version, category, priority, NO_TARGET if (ms := policy.target_ms(category, priority)) is None else ms)
        for category in policy.categories
        for priority in PRIORITIES
    ]
    await client.insert("notify.targets", rows, column_names=_COLUMNS)


class TargetWriter:
    """``connect`` returns a client of a ClickHouse whose schema is in place; its user closes it."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncClient]]) -> None:
        self._connect = connect
        self._catalog: Catalog | None = None
        self._changed = asyncio.Event()

    def take_over(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._changed.set()

    async def run(self) -> None:
        """Writes those of each policy that comes into force, until cancelled. A ClickHouse that is away is waited
        for."""
        written: int | None = None
        while True:
            await self._changed.wait()
            self._changed.clear()
            catalog = self._catalog
            while catalog is not None and catalog.policy_version != written:
                with suppress(Unavailable, ClickHouseError):
                    client = await self._connect()
                    try:
                        await write_targets(client, catalog)
                    finally:
                        await client.close()
                    written = catalog.policy_version
                    log.info("targets written", policy_version=written)
                    break
                await asyncio.sleep(_PAUSE_S)
                catalog = self._catalog
