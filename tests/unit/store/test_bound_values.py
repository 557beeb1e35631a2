"""Values that queries are asked with come back as they are, whatever they hold, and never become SQL."""

import random
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import pytest
from clickhouse_connect.driver import AsyncClient
from hypothesis import given
from hypothesis import strategies as st

from app.config import ClickHouse, Settings
from app.store.announcement import announced_query_url, announced_url
from app.store.bound_values import MOST, check_places, check_values, to_send, values_in
from app.store.queries import Queries, QueryRefused
from tests.unit.store.conftest import event, store

#: Each way to have a value where a name, an expression or more than a value would be.
REFUSED_PLACES = (
    "SELECT * FROM {x:Identifier}",
    "SELECT * FROM notify.{x:Identifier}",
    "SELECT * FROM {x:Identifier}.lifecycle",
    "SELECT {x:Identifier} FROM lifecycle",
    "SELECT l.{x:Identifier} FROM lifecycle AS l",
    "SELECT 1 IN {x:Identifier}",
    "SELECT 1 FROM lifecycle ORDER BY {x:Identifier}",
    "SELECT 1 FROM lifecycle JOIN {x:Identifier} AS y ON 1",
    "WITH a AS (SELECT * FROM {x : Identifier}) SELECT * FROM a",
    "SELECT 'a' AS `b`, \"c\" FROM {x:Identifier}",
    "SELECT '\\'', * FROM {x:Identifier} WHERE 'a' = ''",
    "SELECT {x:Nullable(Identifier)}",
    "SELECT {x:AggregateFunction(sum, UInt64)}",
    "SELECT {x:SimpleAggregateFunction(sum, UInt64)}",
    "SELECT {x:Enum8('a' = 1)}",
    "SELECT {x:JSON}",
    "SELECT {x:Dynamic}",
    "SELECT {x:Variant(String, UInt8)}",
    "SELECT {x:Object('json')}",
    "SELECT {x:Nested(a String)}",
    "SELECT {x:Array(Array(Nothing))}",
    "SELECT {x:nonsense}",
    "DESCRIBE {x:Identifier}",
    "EXISTS TABLE {x:Identifier}",
    "SHOW CREATE TABLE {x:Identifier}",
    "SELECT * FROM url({x:String})",
    "SELECT * FROM file({x:String}, 'CSV')",
    "SELECT file({x:String})",
    "SELECT 1 SETTINGS max_execution_time = {x:UInt64}",
    "SELECT 1 INTO OUTFILE {x:String}",
)
#: What could end a literal, begin another thing, or be read in another way.
AWKWARD = (
    "",
    "'",
    "''",
    "\\",
    "\\'",
    "\\N",
    "\\t",
    "\t",
    "\n",
    "\r\n",
    "\b\f",
    "a\nTableIdentifier system.users",
    "'; DROP TABLE notify.lifecycle; --",
    "/* */ -- #",
    "{y:String}",
    "}{",
    '`"$$',
    "%27%00&param_y=1",
    "['a', 'b']",
    "é\u2028\U0001f600\ufeff",
)
VALUES = (
    ("SELECT {x:String}", "it's", "it's"),
    ("SELECT { x : String }", "a", "a"),
    ("SELECT {x:UInt8} + 1", "41", 42),
    ("SELECT {x:Nullable(Int32)}", "-7", -7),
    ("SELECT {x:Bool}", "true", True),
    ("SELECT {x:LowCardinality(String)}", "a", "a"),
    ("SELECT toString({x:DateTime64(3, 'UTC')})", "2026-11-30 10:00:00.123", "2026-11-30 10:00:00.123"),
    ("SELECT toString({x:Date})", "2026-11-30", "2026-11-30"),
    ("SELECT toString({x:UUID})", "6f1c9a52-0d57-5b0e-9a39-5f5c1d3f7a10", "6f1c9a52-0d57-5b0e-9a39-5f5c1d3f7a10"),
    ("SELECT arrayStringConcat({x:Array(String)}, '+')", "['a\\'b', 'c\\\\d']", "a'b+c\\d"),
    ("SELECT 2 IN {x:Array(UInt8)}", "[1, 2]", 1),
    ("SELECT {x:Map(String, UInt8)}['a']", "{'a': 3}", 3),
    ("SELECT tupleElement({x:Tuple(String, UInt8)}, 2)", "('a', 5)", 5),
    ("SELECT count() FROM (SELECT arrayJoin(range(10)) LIMIT {x:UInt64})", "3", 3),
    ("SELECT toUInt8(now() - toIntervalDay({x:UInt8}) < now())", "3", 1),
)


@pytest.fixture(params=["embedded", "server"])
async def queries(settings: Settings, client: AsyncClient, request: pytest.FixtureRequest) -> AsyncIterator[Queries]:
    """Of the embedded one, which judges by itself; and as a server is asked, judged here: the same engine answers."""
    url = announced_url(settings.data.dir) or ""
    asked = Queries(
        settings if request.param == "embedded" else Settings(clickhouse=ClickHouse(url=url, query_url=url))
    )
    yield asked
    await asked.close()


@pytest.fixture
async def http(settings: Settings, client: AsyncClient) -> AsyncIterator[aiohttp.ClientSession]:
    """Of the embedded one's reader."""
    at = urlsplit(announced_query_url(settings.data.dir) or "")
    headers = {"Authorization": aiohttp.encode_basic_auth(at.username or "", at.password or "")}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{at.port}", headers=headers) as session:
        yield session


async def test_values_of_each_type_are_bound(queries: Queries) -> None:
    found = [(sql, (await queries.run(sql, values={"x": value})).rows[0][0]) for sql, value, _ in VALUES]

    assert found == [(sql, expected) for sql, _, expected in VALUES]


async def test_rows_are_found_by_a_value(queries: Queries, client: AsyncClient) -> None:
    await store(client, event("accepted"), event("accepted", user_id="o'neill"))
    sql = "SELECT user_id FROM lifecycle WHERE user_id = {user:String}"

    assert (await queries.run(sql, values={"user": "o'neill", "another": "unused"})).rows == [["o'neill"]]


async def test_any_text_comes_back_as_it_was_given(queries: Queries) -> None:
    chance = random.Random(7)
    nasty = "'\"`\\{}()[]\t\n\r\b\f :;,-#$%&=?+ aN0\u2028é\U0001f600"
    texts = [*AWKWARD, *("".join(chance.choices(nasty, k=chance.randrange(1, 12))) for _ in range(60))]
    values = {f"v{number}": text for number, text in enumerate(texts)}

    rows = (
        await queries.run("SELECT " + ", ".join(f"{{{name}:String}} AS {name}" for name in values), values=values)
    ).rows

    assert rows == [texts]


@pytest.mark.parametrize("value", ["lifecycle", "system.users", "a\nTableIdentifier b", "1"])
async def test_a_value_stands_for_no_name_and_reaches_nothing(queries: Queries, value: str) -> None:
    allowed = []
    for sql in REFUSED_PLACES:
        try:
            await queries.run(sql, values={"x": value})
        except QueryRefused:
            continue
        allowed.append(sql)

    assert allowed == []


@pytest.mark.parametrize(("value", "why"), [(None, "unknown query parameter"), ("secret", "bad query parameter")])
async def test_a_value_that_is_missing_or_wrong_is_said_without_the_value(
    queries: Queries, value: str | None, why: str
) -> None:
    with pytest.raises(QueryRefused) as refused:
        await queries.run("SELECT {x:UInt8}", values={} if value is None else {"x": value})

    assert str(refused.value) == f"ClickHouse refuses the statement: {why}: x"


@pytest.mark.parametrize(
    "values",
    [{"": "a"}, {"a b": "a"}, {"1": "a"}, {"a:b": "a"}, {"x" * 101: "a"}, {"é": "a"}, {"x": "a\0b"}, {"x": "\ud800"}],
    ids=["no name", "blank", "digit", "colon", "long", "not ASCII", "NUL", "surrogate"],
)
async def test_names_and_values_that_can_not_be_are_refused(queries: Queries, values: dict[str, str]) -> None:
    with pytest.raises(QueryRefused, match="param_"):
        await queries.run("SELECT 1", values=values)


async def test_too_many_or_too_long_values_are_refused(queries: Queries) -> None:
    for values in ({f"x{number}": "" for number in range(MOST + 1)}, {"x": "a" * 6_001}, {"x": "a" * 100_000}):
        with pytest.raises(QueryRefused):
            await queries.run("SELECT 1", values=values)


async def test_the_embedded_one_binds_values_as_clickhouse_does(http: aiohttp.ClientSession) -> None:
    async def ask(sql: str, **params: str) -> tuple[int, str]:
        async with http.post("/", data=sql.encode(), params=params) as answer:
            return answer.status, await answer.text()

    status, said = await ask("SELECT {x:String} AS a", param_x="a\\tb")
    assert (status, '"a\\tb"' in said) == (200, True)
    assert (await ask("SELECT {x:String}", param_y="a"))[0] == 403
    assert (await ask("SELECT * FROM {x:Identifier}", param_x="lifecycle"))[0] == 403
    assert (await ask("SELECT 1", **{"param_x y": "a"}))[0] == 400
    assert (await ask("SELECT 1", **{f"param_x{number}": "" for number in range(MOST + 1)}))[0] == 400


@given(st.text(max_size=60))
def test_what_stands_in_quotes_is_no_parameter(text: str) -> None:
    quoted = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    check_places(f"SELECT {quoted}, {{x:String}}, {quoted}")

    with pytest.raises(QueryRefused):
        check_places(f"SELECT {quoted}, {{x:Identifier}}, {quoted}")


@given(st.text("{}:'`\"\\ (),ax", max_size=40))
def test_a_brace_is_part_of_a_parameter_or_refused(text: str) -> None:
    try:
        check_places(text)
    except QueryRefused:
        return
    assert "{a:" not in text.replace("'", "").replace("`", "").replace('"', "") or any(q in text for q in "'`\"")


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=40), max_size=5))
def test_whatever_is_sent_was_checked(values: dict[str, str]) -> None:
    try:
        sent = to_send("SELECT 1", values)
    except QueryRefused:
        return
    check_values(values)
    assert values_in(sent).keys() == values.keys()
