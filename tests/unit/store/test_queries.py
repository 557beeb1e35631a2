"""What people may ask of ClickHouse: to read the database notify, and nothing that reaches outside."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from clickhouse_connect.driver import AsyncClient
from hypothesis import given
from hypothesis import strategies as st

from app.config import Settings
from app.store.announcement import announced_query_url, announced_url
from app.store.queries import Limits, Queries, QueryRefused, Unavailable
from app.store.reading import check_statement, refusal
from schemas.instants import rfc3339
from schemas.lifecycle import LifecycleEvent
from tests.unit.store.conftest import T0, event, settings_in, store

READING = (
    "SHOW TABLES",
    "SHOW TABLES FROM notify LIKE 'life%'",
    "SHOW COLUMNS FROM lifecycle",
    "SHOW CREATE TABLE notify.lifecycle",
    "DESCRIBE lifecycle",
    "DESCRIBE TABLE notify.notifications",
    "EXISTS TABLE lifecycle",
    "WITH 1 AS x SELECT x",
    "WITH a AS (SELECT 1 AS b) SELECT b FROM a JOIN a AS c USING b",
    "(SELECT 1) UNION ALL (SELECT 2)",
    "SELECT 1 INTERSECT SELECT 1",
    "SELECT 'file(1) INTO OUTFILE' AS `file()`",
    "SELECT COUNT(*), countIf(status = 'sent'), uniqExactIf(user_id, 1), quantiles(0.5, 0.9)(attempt) FROM lifecycle",
    "SELECT channel, status, count() AS n FROM notifications GROUP BY ALL ORDER BY n DESC LIMIT 3 BY channel LIMIT 5",
    "SELECT * EXCEPT detail FROM lifecycle FINAL PREWHERE status = 'sent' WHERE occurred_at > now() - INTERVAL 1 DAY",
    "SELECT l.user_id, sum(1) OVER (PARTITION BY l.status ORDER BY occurred_at) FROM notify.lifecycle AS l",
    "SELECT user_id FROM lifecycle WHERE user_id IN (SELECT user_id FROM notifications) AND status IN ('a', 'b')",
    "SELECT arrayMap(x -> x + 1, range(3))[1], CASE WHEN 1 THEN 'a' ELSE 'b' END, JSONExtractString(detail, 'cap')"
    " FROM lifecycle",
    "SELECT toStartOfHour(occurred_at) AS h, count() FROM lifecycle GROUP BY h ORDER BY h WITH FILL STEP 3600",
    "SELECT name, type FROM system.columns WHERE database = 'notify'",
    "SELECT argMaxState(status, occurred_at) FROM lifecycle -- a comment;\n;",
)
MORE_THAN_READING = (
    "INSERT INTO lifecycle (event_id) VALUES ('x')",
    "DROP TABLE lifecycle",
    "CREATE TABLE x ENGINE = Memory AS SELECT 1",
    "ALTER TABLE lifecycle DELETE WHERE 1",
    "SELECT 1; DROP TABLE lifecycle",
    "KILL QUERY WHERE 1",
    "SYSTEM SHUTDOWN",
    "SET readonly = 0",
    "USE system",
    "SELECT 1 SETTINGS max_execution_time = 0",
    "SELECT * FROM (SELECT 1 SETTINGS max_memory_usage = 0)",
    "SELECT 1 FORMAT Null",
    "SELECT 1 INTO OUTFILE '/tmp/tocsin-must-not-be-there'",
    "SELECT 1 INTO/**/OUTFILE '/tmp/tocsin-must-not-be-there'",
    "SELECT {x:String}",
    "EXPLAIN SELECT 1",
    "nonsense",
    "",
    "SELECT '\ud800'",
)
#: Each reaches files, other hosts, other databases or the server itself.
REACHES = (
    "file('/etc/passwd', 'LineAsString')",
    "url('http://127.0.0.1:1/', 'LineAsString')",
    "url('file:///etc/passwd', 'TSVWithNames')",
    "`url`/**/('http://127.0.0.1:1/')",
    "urlCluster('a', 'http://127.0.0.1:1/')",
    "s3('http://127.0.0.1:1/', 'CSV')",
    "remote('127.0.0.1', 'system', 'one')",
    "remoteSecure('127.0.0.1', 'system', 'one')",
    "cluster('default', 'system', 'one')",
    "mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "sqlite('/etc/passwd', 'a')",
    "executable('id', 'CSV', 'a String')",
    "input('a String')",
    "merge('system', '.*')",
    "dictionary('a')",
    "view(SELECT * FROM system.processes)",
    "loop(system.one)",
    "eval('SELECT 1')",
    "python('a')",
    "numbers(10)",
    "values('a Int8', 1)",
    "format('CSV', '1')",
    "null('a Int8')",
    "system.processes",
    "system.users",
    "information_schema.tables",
    "default.x",
    "`/etc/passwd`",
    "'/etc/passwd'",
    "`notify`.`a\nTableIdentifier b`",
    "_temporary_and_external_tables.x",
)
REACHING_FUNCTIONS = (
    "file('/etc/passwd')",
    "dictGet('a', 'b', 1)",
    "joinGet('a', 'b', 1)",
    "hostName()",
    "FQDN()",
    "currentUser()",
    "getSetting('max_threads')",
    "getServerSetting('a')",
    "getMacro('a')",
    "serverUUID()",
    "showCertificate()",
    "filesystemAvailable()",
    "addressToSymbol(1)",
    "currentRequestURL()",
    "getClientHTTPHeader('a')",
    "aiGenerate('a', 'b')",
    "evalMLMethod(1)",
    "sleep(3)",
    "sleepEachRow(3)",
    "throwIf(1)",
    "catboostEvaluate('a', 1)",
    "chdb('a')",
    "sumIfFile('a')",
)
REACHING = (
    *(f"SELECT * FROM {source}" for source in REACHES),
    *(f"DESCRIBE {source}" for source in REACHES),
    *(f"SELECT 1 FROM lifecycle JOIN {source} AS x ON 1" for source in REACHES),
    *(f"SELECT * FROM lifecycle, (SELECT * FROM {source})" for source in REACHES),
    *(f"WITH x AS (SELECT * FROM {source}) SELECT * FROM x" for source in REACHES),
    *(f"SELECT 1 IN (SELECT 1 FROM {source})" for source in REACHES),
    *(f"SELECT {function}" for function in REACHING_FUNCTIONS),
    *(f"SELECT count() FROM lifecycle WHERE 1 ORDER BY {function}" for function in REACHING_FUNCTIONS),
    *(f"SELECT arrayMap(x -> {function}, [1])" for function in REACHING_FUNCTIONS),
    "SELECT 1 IN system.users",
    "SELECT 1 NOT IN (system.users)",
    "SELECT * FROM lifecycle WHERE user_id GLOBAL IN information_schema.tables",
    "SHOW CREATE TABLE system.users",
    "SHOW TABLES FROM system",
    "SHOW DATABASES",
    "SHOW PROCESSLIST",
    "SHOW GRANTS",
    "SHOW SETTINGS LIKE '%'",
    "EXISTS TABLE system.users",
    "EXISTS DICTIONARY x",
    "CHECK TABLE lifecycle",
)


@pytest.fixture
async def queries(settings: Settings, client: AsyncClient) -> AsyncIterator[Queries]:
    asked = Queries(settings)
    yield asked
    await asked.close()


async def is_allowed(queries: Queries, sql: str, limits: Limits | None = None) -> bool:
    try:
        await queries.run(sql, limits)
    except QueryRefused:
        return False
    return True


async def test_a_query_answers_with_columns_types_and_rows(queries: Queries, client: AsyncClient) -> None:
    await store(client, event("accepted"))

    answer = await queries.run("SELECT user_id, occurred_at FROM lifecycle -- a comment;\n;")

    assert (answer.columns, answer.types) == (("user_id", "occurred_at"), ("String", "DateTime64(3, 'UTC')"))
    assert [[user, at.replace(" ", "T")[:19]] for user, at in answer.rows] == [["u", rfc3339(T0)[:19]]]
    assert not answer.truncated


async def test_a_query_is_cut_at_its_limit_and_says_so(queries: Queries) -> None:
    answer = await queries.run("SELECT arrayJoin(range(100000))", Limits(rows=10))

    assert len(answer.rows) == 10
    assert answer.truncated


async def test_statements_that_only_read_are_allowed(queries: Queries) -> None:
    assert [sql for sql in READING if not await is_allowed(queries, sql)] == []


async def test_statements_that_do_more_or_reach_out_are_refused(queries: Queries) -> None:
    assert [sql for sql in (*MORE_THAN_READING, *REACHING) if await is_allowed(queries, sql)] == []
    assert not Path("/tmp/tocsin-must-not-be-there").exists()
    assert (await queries.run("SELECT count() FROM lifecycle")).rows == [[0]]


async def test_whatever_is_refused_is_refused_before_it_runs(settings: Settings, queries: Queries) -> None:
    """A server of ours stands where the queries would reach; nobody calls it, nor the embedded one by its password."""
    called: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append((await reader.read(100)).decode())
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = urlsplit(announced_url(settings.data.dir) or "")
    own = f"http://{url.username}:{url.password}@127.0.0.1:{url.port}/?query=DROP+TABLE+notify.lifecycle"
    async with server:
        for target in (f"http://127.0.0.1:{port}/", own):
            for sql in ("DESCRIBE url('{}')", "SELECT * FROM url('{}', 'CSV', 'a String')", "SELECT 1 IN url('{}')"):
                assert not await is_allowed(queries, sql.format(target))

    assert called == []
    assert (await queries.run("SELECT count() FROM lifecycle")).rows == [[0]]


async def test_a_refusal_never_quotes_what_only_the_engine_knows(queries: Queries) -> None:
    with pytest.raises(QueryRefused) as refused:
        await queries.run("SELECT no_such_column FROM lifecycle")

    assert str(refused.value) == "ClickHouse refuses the statement: unknown identifier: no_such_column"


@given(st.text(max_size=200))
def test_errors_say_nothing_but_their_kind_and_names_of_the_query(secret: str) -> None:
    said = str(refusal(f"Code: 1. DB::Exception: Cannot parse `{secret}` (CANNOT_PARSE_TEXT)", "SELECT a"))

    quoted = re.fullmatch(r"ClickHouse refuses the statement: [a-z0-9 ]+(?:: ([\w, .]+))?(?: at position \d+)?", said)
    assert quoted is not None
    assert all(name in "SELECT a" for name in (quoted[1] or "").split(", "))


async def test_the_reader_of_the_embedded_one_is_held_to_the_same_list_and_to_its_limits(
    settings: Settings, client: AsyncClient
) -> None:
    url = urlsplit(announced_query_url(settings.data.dir) or "")
    headers = {"Authorization": aiohttp.encode_basic_auth(url.username or "", url.password or "")}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{url.port}", headers=headers) as http:

        async def status(sql: str, **params: str) -> int:
            async with http.post("/", data=sql, params=params) as answer:
                return answer.status

        assert await status("SELECT 1") == 200
        assert await status("DROP TABLE notify.lifecycle") == 403
        assert await status("SELECT * FROM url('file:///etc/passwd')") == 403
        assert await status("INSERT INTO notify.lifecycle FORMAT Native\n") == 403
        assert await status("SELECT 1", query="DROP TABLE notify.lifecycle;") == 403
        assert await status("SELECT 1", max_execution_time="31") == 400
        assert await status("SET readonly = 0", readonly="0") == 403


async def test_queries_that_hang_keep_nobody_from_reading_history(
    settings: Settings, queries: Queries, client: AsyncClient
) -> None:
    endless = (
        "SELECT count() FROM (SELECT arrayJoin(range(1000000)) AS a) AS x, (SELECT arrayJoin(range(1000000))) AS y"
    )
    hanging = [asyncio.create_task(is_allowed(queries, endless, Limits(seconds=2))) for _ in range(3)]
    await asyncio.sleep(0)

    assert await client.command("SELECT count() FROM notify.lifecycle") == 0

    results = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(result is False or isinstance(result, Unavailable) for result in results)
    assert await is_allowed(queries, "SELECT 1")


async def test_a_statement_that_is_too_long_is_refused(queries: Queries) -> None:
    assert not await is_allowed(queries, "SELECT " + "1," * 50_000 + "1")


async def test_without_the_analytics_role_it_says_what_to_start(tmp_path: Path) -> None:
    queries = Queries(settings_in(tmp_path))
    with pytest.raises(Unavailable, match="start `tocsin dev` or `tocsin worker analytics`"):
        await queries.run("SELECT 1")
    await queries.close()


async def test_before_the_database_was_made_it_says_who_makes_it(settings: Settings) -> None:
    """Without ``client``, nothing has applied the schema."""
    queries = Queries(settings)
    with pytest.raises(Unavailable, match="no database notify yet"):
        await queries.run("SELECT count() FROM lifecycle")
    await queries.close()


async def test_every_function_of_the_list_is_one_of_this_clickhouse(client: AsyncClient) -> None:
    """So that the list has no misspelt name, and a new version's changes are seen."""
    known = {row[0].lower() for row in (await client.query("SELECT name FROM system.functions")).result_rows}
    listed = Path("app/store/query_functions.txt").read_text().splitlines()
    names = {name.lower() for line in listed if not line.startswith("#") for name in line.split()}

    assert names - known <= {"lambda", "grouping"}


def test_a_node_that_nobody_knows_is_refused() -> None:
    with pytest.raises(QueryRefused, match="NewThing"):
        check_statement("SELECT 1", "SelectWithUnionQuery (children 1)\n ExpressionList (children 1)\n  NewThing x")


async def test_the_documents_query_finds_doubts_that_were_settled_too(queries: Queries, client: AsyncClient) -> None:
    """Promise 2: sends whose answer was lost are counted and listed."""

    def of(send_id: str, *steps: tuple[str, int]) -> list[LifecycleEvent]:
        known = {"channel": "sms", "send_id": send_id, "provider": "twilio"}
        return [event(status, at, **known, reason="timeout" if status == "in_doubt" else None) for status, at in steps]

    events = [
        *of("settled", ("sending", 1), ("in_doubt", 2), ("sent", 3)),
        *of("resent", ("sending", 1), ("in_doubt", 2), ("sending", 5), ("sent", 6)),
        *of("open", ("sending", 1), ("in_doubt", 4)),
        *of("calm", ("sending", 1), ("sent", 2)),
    ]
    await store(client, *events, *events)  # as after a restart

    page = Path("docs/clickhouse.md").read_text()
    sql = page.split("<!-- test: doubts -->\n```sql\n")[1].split("```")[0]
    answer = await queries.run(sql)

    found = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    assert sorted((row["send_id"], row["settled_as"], row["calls"], row["why"]) for row in found) == [
        ("open", "", 1, "timeout"),
        ("resent", "sent", 2, "timeout"),
        ("settled", "sent", 1, "timeout"),
    ]
