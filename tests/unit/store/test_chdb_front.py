"""The unchanged ClickHouse client meets the embedded ClickHouse."""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import clickhouse_connect
import pytest
from clickhouse_connect.driver import AsyncClient
from clickhouse_connect.driver.exceptions import DatabaseError

from app.config import Settings
from app.store.announcement import announced_url
from app.store.clickhouse import Unavailable, connect
from app.store.embedded import embedded_clickhouse
from tests.unit.store.conftest import settings_in


@pytest.fixture
async def asking(settings: Settings) -> AsyncClient:
    """A client with all of its defaults, compression and session included, as anybody would make it."""
    url = urlsplit(announced_url(settings.data.dir) or "")
    return await clickhouse_connect.get_async_client(
        host=url.hostname, port=url.port, username=url.username, password=url.password, autogenerate_session_id=True
    )


@pytest.fixture
async def table(asking: AsyncClient) -> str:
    await asking.command(
        "CREATE TABLE t (id UInt64, name String, kind LowCardinality(Nullable(String)), at DateTime64(3, 'UTC')) "
        "ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 10"
    )
    return "t"


async def count(client: AsyncClient) -> object:
    return await client.command("SELECT count() FROM t")


async def test_rows_of_any_bytes_come_back_as_they_were_inserted(asking: AsyncClient, table: str) -> None:
    rows = [[n, "a\n\nb;'\\\t\x00é" * (n % 7), None if n % 3 else "INSERT", 1000 * n] for n in range(20_000)]

    await asking.insert(table, rows, column_names=["id", "name", "kind", "at"])

    answer = await asking.query("SELECT id, name, kind, toUnixTimestamp64Milli(at) FROM t ORDER BY id")
    assert [list(row) for row in answer.result_rows] == rows


async def test_an_insert_with_the_same_token_is_taken_once(asking: AsyncClient, table: str) -> None:
    for token in ("one", "one", "two"):
        settings = {"insert_deduplication_token": token}
        await asking.insert(table, [[1, "a", "b", 0]], column_names=["id", "name", "kind", "at"], settings=settings)

    assert await count(asking) == 2


async def test_parameters_are_values_and_never_sql(asking: AsyncClient) -> None:
    hostile = "'; DROP TABLE t; -- \\ \n"

    assert (await asking.query("SELECT {x:String}", {"x": hostile})).result_rows == [(hostile,)]


async def test_large_parameters_may_come_as_a_form(asking: AsyncClient) -> None:
    asking._backend.form_encode_query_params = True
    large = "x" * 100_000

    assert (await asking.query("SELECT length({x:String})", {"x": large})).result_rows == [(len(large),)]


async def test_settings_hold_for_one_request_only(asking: AsyncClient) -> None:
    sql = "SELECT getSetting('max_result_rows')"

    assert (await asking.query(sql, settings={"max_result_rows": 7})).result_rows == [(7,)]
    assert (await asking.query(sql)).result_rows == [(0,)]


async def test_readonly_keeps_a_request_from_writing(asking: AsyncClient, table: str) -> None:
    for statement in (
        "INSERT INTO t (id) VALUES (1)",
        "DROP TABLE t",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
    ):
        with pytest.raises(DatabaseError) as refused:
            await asking.command(statement, settings={"readonly": 1})
        assert refused.value.code == 164

    assert await count(asking) == 0


@pytest.mark.parametrize(("sql", "code"), [("SELECT * FROM nowhere", 60), ("SELEKT 1", 62), ("SELECT throwIf(1)", 395)])
async def test_errors_carry_the_code_of_clickhouse(asking: AsyncClient, sql: str, code: int) -> None:
    with pytest.raises(DatabaseError) as failed:
        await asking.query(sql)

    assert failed.value.code == code


async def test_a_wrong_password_is_refused(settings: Settings) -> None:
    url = urlsplit(announced_url(settings.data.dir) or "")

    with pytest.raises(DatabaseError) as refused:
        await clickhouse_connect.get_async_client(
            host=url.hostname, port=url.port, username=url.username, password="guess"
        )

    assert refused.value.code == 516


async def test_a_statement_may_come_in_the_address_and_its_format_is_named(settings: Settings) -> None:
    url = urlsplit(announced_url(settings.data.dir) or "")
    headers = {"Authorization": aiohttp.encode_basic_auth(url.username or "", url.password or "")}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{url.port}", headers=headers) as session:
        answer = await session.get("/", params={"query": "SELECT 1 AS one", "default_format": "JSONEachRow"})

        assert await answer.json(content_type=None) == {"one": 1}
        assert answer.headers["X-ClickHouse-Format"] == "JSONEachRow"
        assert await (await session.get("/ping")).text() == "Ok.\n"


async def test_a_long_query_does_not_hold_up_an_insert(client: AsyncClient, asking: AsyncClient, table: str) -> None:
    running = "query LIKE 'SELECT sum(cityHash64%'"
    long = asyncio.create_task(client.query("SELECT sum(cityHash64(number)) FROM numbers(1000000000000)"))
    while not await asking.command(f"SELECT count() FROM system.processes WHERE {running}"):
        assert not long.done()

    await asking.command("INSERT INTO t (id) VALUES (1)")

    assert await count(asking) == 1
    assert not long.done()
    await asking.command(f"KILL QUERY WHERE {running}")
    with pytest.raises(DatabaseError):
        await long


async def test_the_address_is_announced_to_nobody_but_its_owner(settings: Settings) -> None:
    file = settings.data.dir / "analytics.json"
    announced = json.loads(file.read_text())

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert announced["pid"] == os.getpid()
    assert urlsplit(announced["url"]).hostname == "127.0.0.1"


async def test_the_port_of_last_time_is_taken_again_unless_it_is_taken(tmp_path: Path) -> None:
    def port() -> int | None:
        return urlsplit(announced_url(tmp_path) or "").port

    async with embedded_clickhouse(tmp_path / "db", tmp_path):
        first = port()
    async with embedded_clickhouse(tmp_path / "db", tmp_path):
        second = port()
    with socket.create_server(("127.0.0.1", second or 0)):
        async with embedded_clickhouse(tmp_path / "db", tmp_path):
            third = port()

    assert second == first
    assert third != first


async def test_who_asks_while_the_role_is_not_running_is_told_what_to_start(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="hasn't run here yet: start `tocsin dev`"):
        await connect(settings_in(tmp_path))
    async with embedded_clickhouse(tmp_path / "clickhouse", tmp_path):
        pass
    with pytest.raises(Unavailable, match=r"can't be reached .*: start `tocsin dev`"):
        await connect(settings_in(tmp_path))


async def test_a_second_process_cannot_open_the_folder(settings: Settings, tmp_path: Path) -> None:
    code = f"from chdb.state.sqlitelike import Connection; Connection({str(tmp_path / 'clickhouse')!r})"

    other = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True)

    assert other.returncode != 0
    assert "lock" in other.stderr.lower()
