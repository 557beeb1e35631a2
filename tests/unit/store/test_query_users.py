"""Users who may only ask: made by a command, known to the embedded ClickHouse at once, and to the tools people use."""

import asyncio
import json
import os
import random
import re
import stat
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import cramjam
import pytest
from clickhouse_connect.driver import AsyncClient

from app.config import Settings
from app.store import chdb_front
from app.store.announcement import announced_query_url
from app.store.chdb_front import ChdbFront
from app.store.queries import Queries
from app.store.query_users import BadQueryUser, QueryUsers, check_name, hash_of, new_password, statements
from tests.unit.store import analysts
from tests.unit.store.history import delivery_hourly, history
from tests.unit.store.test_states import write
from tests.unit.store.test_views import VIEWS

ROOT = Path(__file__).resolve().parents[3]


async def command(data: Path, *arguments: str, url: str | None = None) -> tuple[int | None, str, str]:
    """Exit status, output and errors of ``tocsin query-user``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    where = {"TOCSIN_DATA__DIR": str(data), "TOCSIN_CLICKHOUSE__URL": url or f"chdb://{data}/clickhouse"}
    return await run("-m", "app.cli", "query-user", *arguments, env={**inherited, **where})


async def run(*arguments: str, env: dict[str, str] | None = None) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=env, cwd=ROOT
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


@pytest.fixture
def url(client: AsyncClient, settings: Settings) -> str:
    """Of a user ``ana``, as the command prints it."""
    password = new_password()
    QueryUsers(settings.data.dir).add("ana", password)
    return f"clickhouse://ana:{password}@127.0.0.1:{urlsplit(announced_query_url(settings.data.dir)).port}/notify"


@pytest.fixture
async def http(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    at = urlsplit(url)
    headers = {"Authorization": aiohttp.encode_basic_auth(at.username or "", at.password or "")}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{at.port}", headers=headers) as session:
        yield session


async def ask(http: aiohttp.ClientSession, sql: str, **params: str) -> tuple[int, str]:
    async with http.post("/", data=sql.encode(), params=params) as answer:
        return answer.status, await answer.text()


async def test_pandas_polars_and_sqlalchemy_work_with_a_user_for_queries(client: AsyncClient, url: str) -> None:
    events = history(random.Random(3), 30)
    await write(client, events)
    at = urlsplit(url)

    status, output, errors = await run(
        *("-m", analysts.__name__, url, at.hostname or "", str(at.port), at.username or "", at.password or "")
    )

    assert status == 0, errors
    found = json.loads(output)
    assert found["pandas"] == found["polars"]
    assert found["pandas"]["sent"] == found["bound"] == found["bound by the server"] == found["sent"] > 0
    assert found["schemas"] == ["notify"]
    assert {"lifecycle", *VIEWS} <= set(found["tables"])
    assert set(VIEWS) <= set(found["views"])
    assert found["columns"] == VIEWS["engagement"].split()
    assert found["exist"] == [True, False]
    assert found["frame"] == [True, sum(row[-1] for row in delivery_hourly(events))]


async def test_the_examples_questions_are_answered_and_plotted(
    client: AsyncClient, settings: Settings, url: str, tmp_path: Path
) -> None:
    await write(client, history(random.Random(3), 40))
    script = str(ROOT / "examples" / "questions.py")

    status, output, errors = await run(script, url, str(tmp_path / "plots"))

    assert status == 0, errors
    answered = re.findall(r"\? (\d+) rows, (\S+)", output)
    assert len(answered) == 5
    for rows, path in answered:
        assert int(rows) > 0, path
        assert Path(path).read_bytes().startswith(b"\x89PNG")


async def test_a_user_is_made_listed_and_dropped_and_obeyed_at_once(
    client: AsyncClient, settings: Settings, tmp_path: Path
) -> None:
    status, printed, errors = await command(tmp_path, "create", "ana")
    assert status == 0, errors
    at = urlsplit(printed.strip())
    headers = {"Authorization": aiohttp.encode_basic_auth(at.username or "", at.password or "")}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{at.port}", headers=headers) as http:
        assert await ask(http, "SELECT 1") == (200, "1\n")
        assert json.loads((await command(tmp_path, "list", "--json"))[1]) == [{"name": "ana"}]
        again, _, refusal = await command(tmp_path, "create", "ana")
        assert (again, "NAME: ana is there already" in refusal) == (1, True)
        assert (await command(tmp_path, "drop", "ana"))[0] == 0
        assert (await ask(http, "SELECT 1"))[0] == 403
    file = tmp_path / "query_users.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (at.password or "?") not in file.read_text()


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO notify.lifecycle (event_id) VALUES ('x')",
        "DROP TABLE notify.lifecycle",
        "SELECT * FROM system.users",
        "SELECT name, value FROM system.settings",
        "SELECT name FROM system.tables WHERE database = 'notify' OR 1",
        "SELECT * FROM system.databases",
        "SELECT * FROM file('/etc/passwd') FORMAT Native",
        "SELECT 1 INTO OUTFILE '/tmp/x' FORMAT CSV",
        "SELECT 1 FORMAT CSV FORMAT Native",
        "SELECT 1 FORMAT Null",
        "SELECT 1 SETTINGS max_memory_usage = 0 FORMAT Native",
        "SELECT version(), timezone(), hostName()",
        "EXISTS DATABASE `system`",
        "SHOW TABLES FROM system",
        "KILL QUERY WHERE 1",
    ],
)
async def test_a_user_may_do_no_more_than_read_the_database(http: aiohttp.ClientSession, sql: str) -> None:
    assert (await ask(http, sql))[0] == 403


async def test_limits_can_be_lowered_and_not_raised(http: aiohttp.ClientSession) -> None:
    assert await ask(http, "SELECT 1 FORMAT JSONEachRow", max_execution_time="5") == (200, '{"1":1}\n')
    assert (await ask(http, "SELECT 1", max_memory_usage="2000000000"))[0] == 400


@pytest.mark.parametrize(("quota", "most"), [("_QUERIES_A_MINUTE", 1), ("_SECONDS_A_MINUTE", 1e-9)])
async def test_who_asks_too_often_or_too_much_is_told_so(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, quota: str, most: float
) -> None:
    monkeypatch.setattr(chdb_front, quota, most)
    answers = [(await ask(http, "SELECT 1"))[0] for _ in range(6)]

    assert answers[0] == 200
    assert 429 in answers


async def test_users_leave_a_turn_to_the_queries_of_tocsin_itself(
    http: aiohttp.ClientSession, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, begun, over = ChdbFront._run_checked, threading.Semaphore(0), threading.Event()

    def run_long(front: ChdbFront, sql: bytes, *rest: Any) -> bytes:
        if b"long" in sql:
            begun.release()
            over.wait(120)
        return run(front, sql, *rest)

    monkeypatch.setattr(ChdbFront, "_run_checked", run_long)
    queries = Queries(settings)
    asked = [asyncio.create_task(ask(http, "SELECT 'long'")) for _ in range(3)]
    try:
        assert await asyncio.to_thread(begun.acquire, timeout=60)
        assert (await http.get("/ping")).status == 200
        assert (await queries.run("SELECT 1")).rows == [[1]]
        assert not begun.acquire(blocking=False)
    finally:
        over.set()
        await queries.close()
    assert await asyncio.gather(*asked) == [(200, "long\n")] * 3


#: More blanks than a statement may have bytes.
BLANKS = b"SELECT 1" + b" " * 100_000


@pytest.mark.parametrize("of_reader", [False, True], ids=["user", "reader"])
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (BLANKS, {}, 413),
        (bytes(cramjam.lz4.compress(BLANKS)), {"Content-Encoding": "lz4"}, 400),
        (bytes(cramjam.gzip.compress(BLANKS)), {"Content-Encoding": "gzip"}, 400),
        (b"--x\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, 400),
        (b"query=" + BLANKS, {"Content-Type": "application/x-www-form-urlencoded"}, 413),
        (b"query=SELECT+1", {"Content-Type": "application/x-www-form-urlencoded"}, 200),
        (b"SELECT 1" + b" " * 60_000, {}, 200),
    ],
    ids=["long", "lz4", "gzip", "multipart", "long form", "form", "blanks"],
)
async def test_no_more_is_read_or_unpacked_than_a_statement_may_be_long(
    url: str, settings: Settings, body: bytes, headers: dict[str, str], status: int, *, of_reader: bool
) -> None:
    at = urlsplit(announced_query_url(settings.data.dir) or "" if of_reader else url)
    known = {"Authorization": aiohttp.encode_basic_auth(at.username or "", at.password or "")}
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{at.port}") as http,
        http.post("/", data=body, headers={**headers, **known}) as answer,
    ):
        assert answer.status == status


async def test_a_user_is_known_by_clickhouse_s_own_headers(url: str) -> None:
    at = urlsplit(url)
    for password, status in ((at.password, 200), ("guess", 403), ("", 403)):
        headers = {"X-ClickHouse-User": "ana", "X-ClickHouse-Key": password or ""}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{at.port}", headers=headers) as http:
            assert (await ask(http, "SELECT 1"))[0] == status


async def test_for_a_server_its_administrator_gets_the_statements(tmp_path: Path) -> None:
    url = "clickhouse://tocsin:secret@db.example:8123/notify"
    status, output, errors = await command(tmp_path, "create", "ana", url=url)

    assert status == 0
    password = errors.strip().rpartition(" ")[2]
    assert f"CREATE USER ana IDENTIFIED WITH sha256_hash BY '{hash_of(password)}'" in output
    assert "CREATE QUOTA OR REPLACE ana " in output
    assert password not in output
    assert not (tmp_path / "query_users.json").exists()
    assert (await command(tmp_path, "list", url=url))[0] == 1


async def test_clickhouse_can_parse_the_statements_for_a_server(client: AsyncClient) -> None:
    for statement in statements("ana", "p").split(";\n"):
        formatted = await client.command("SELECT formatQuerySingleLine({sql:String})", {"sql": statement.rstrip(";")})
        assert str(formatted).startswith(("CREATE", "GRANT"))


@pytest.mark.parametrize("name", ["", "Ana", "1a", "a b", "a;DROP", "reader", "tocsin", "default", "x" * 33, "é"])
def test_a_name_that_can_not_be_is_refused(name: str) -> None:
    with pytest.raises(BadQueryUser, match="NAME: "):
        check_name(name)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"users": []}', '{"users": null}', "\x00"])
def test_a_damaged_file_lets_nobody_in_and_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    file = tmp_path / "query_users.json"
    file.write_text(content)
    users = QueryUsers(tmp_path)

    assert not users.is_known("ana", "")
    with pytest.raises(BadQueryUser, match="is damaged"):
        users.add("ana", "p")
    with pytest.raises(BadQueryUser, match="is damaged"):
        users.drop("ana")
    assert file.read_text() == content


def test_a_file_that_can_not_be_read_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "query_users.json").mkdir()

    with pytest.raises(OSError, match="directory"):
        QueryUsers(tmp_path).add("ana", "p")


def test_users_that_are_made_at_once_are_all_there(tmp_path: Path) -> None:
    names = [f"u{number}" for number in range(20)]
    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(lambda name: QueryUsers(tmp_path).add(name, "p"), names))

    assert sorted(QueryUsers(tmp_path).read()) == sorted(names)
    assert not list(tmp_path.glob("*.partial"))
