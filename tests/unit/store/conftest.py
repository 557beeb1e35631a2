"""The embedded ClickHouse as the analytics role serves it, in a folder of the test's own, and events to put there."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver import AsyncClient

from app.config import ClickHouse, Data, Settings
from app.store.clickhouse import connect
from app.store.embedded import embedded_clickhouse
from app.store.lifecycle_rows import COLUMNS, row_of
from app.store.migrations import Kept, migrate
from schemas.instants import rfc3339
from schemas.lifecycle import LifecycleEvent
from schemas.topics import LIFECYCLE
from tests.records import Record

#: 2026-11-20T10:00:00Z: the instant that tests count from.
T0 = 1_795_168_800_000

_ids = itertools.count()


def event(status: str, after_ms: int = 0, **fields: Any) -> LifecycleEvent:
    """An event of the notification n for the user u, ``after_ms`` after T0."""
    default = {
        "event_id": f"e{next(_ids)}",
        "notification_id": "n",
        "user_id": "u",
        "occurred_at": rfc3339(T0 + after_ms),
    }
    return msgspec.convert({**default, "status": status, **fields}, LifecycleEvent)


def recorded(value: bytes, *, at: int = T0, offset: int = 0) -> Record:
    """A record of ``notify_lifecycle``."""
    return Record(LIFECYCLE, 0, offset, at, b"u", value)


def record(event: LifecycleEvent, offset: int = 0) -> Record:
    return Record(LIFECYCLE, 0, offset, T0, event.user_id.encode(), msgspec.json.encode(event))


async def store(client: AsyncClient, *events: LifecycleEvent) -> None:
    rows = [row_of(record(event, offset)) for offset, event in enumerate(events)]
    await client.insert("notify.lifecycle", list(zip(*rows, strict=True)), column_names=COLUMNS, column_oriented=True)


def settings_in(folder: Path, **clickhouse: Any) -> Settings:
    return Settings(clickhouse=ClickHouse(url=f"chdb://{folder}/clickhouse", **clickhouse), data=Data(dir=folder))


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[Settings]:
    """Settings of a chDB that is being served."""
    async with embedded_clickhouse(tmp_path / "clickhouse", tmp_path):
        yield settings_in(tmp_path)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[AsyncClient]:
    """An unchanged clickhouse-connect client, with the schema applied."""
    async with await connect(settings, database=None) as client:
        await migrate(client, Kept.of(settings.clickhouse))
        yield client
