"""The outbox relay, on a real PostgreSQL and a real Kafka: what a transaction has committed is notified of, none is
lost, none comes twice, each user's in order, whoever is killed."""

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition

from app.config import Kafka
from app.kafka.consumers import LogConsumer
from app.store import topics as declared_topics
from app.store.outbox import table_ddl
from schemas.topics import EVENTS
from tests.conftest import eventually
from tests.postgres import Postgres, postgres

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture
async def table(server: Postgres) -> str:
    """An outbox of the test's own."""
    name = f"outbox_{uuid.uuid4().hex[:8]}"
    async with connected(server) as database:
        for _ in range(2):  # again, it changes nothing
            await database.execute(table_ddl(name))
    return name


@pytest.fixture
async def environ(kafka: str, tmp_path: Path) -> dict[str, str]:
    await declared_topics.apply(Kafka(bootstrap=kafka), {})
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    return {**ours, "TOCSIN_KAFKA__BOOTSTRAP": kafka, "TOCSIN_DATA__DIR": str(tmp_path)}


@asynccontextmanager
async def connected(server: Postgres) -> AsyncIterator[Any]:
    database = await asyncpg.connect(server.dsn)
    try:
        yield database
    finally:
        await database.close()


def command(server: Postgres, table: str, source: str, *more: str) -> list[str]:
    options = ("--dsn", server.dsn, "--table", table, "--source", source, *more)
    return [sys.executable, "-m", "app.cli", "outbox", "relay", *options]


async def once(server: Postgres, table: str, source: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A relay that ends when nothing waits."""
    return await asyncio.to_thread(
        subprocess.run,
        command(server, table, source, "--once"),
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@asynccontextmanager
async def relay(
    server: Postgres, table: str, source: str, environ: dict[str, str], instance: str = "1"
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command(server, table, source),
        env={**environ, "TOCSIN_INSTANCE": instance},
        cwd=ROOT,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def insert(database: Any, table: str, user: str, number: int) -> None:
    request = json.dumps({"event_type": "order.shipped", "data": {"number": number}})
    await database.execute(f"INSERT INTO {table} (user_id, request) VALUES ($1, $2)", user, request)


async def waiting(server: Postgres, table: str) -> int:
    async with connected(server) as database:
        query = f"SELECT count(*) FROM {table} WHERE relayed_at IS NULL AND refused IS NULL"
        return int(await database.fetchval(query))


async def nothing_waits(server: Postgres, table: str) -> bool:
    try:
        return await waiting(server, table) == 0
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False


async def produced(kafka: str, source: str) -> dict[str, list[int]]:
    """By user the numbers in the order of the log, each notification once, as the router takes them. Other tests share
    the broker, and write what nobody can read."""
    consumer = LogConsumer(bootstrap_servers=kafka, group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = [TopicPartition(EVENTS, number) for number in range(Kafka().partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        seen: set[str] = set()
        numbers: dict[str, list[int]] = {}
        while any([await consumer.position(place) < ends[place] for place in places]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    if source.encode() not in (record.value or b""):
                        continue
                    request = json.loads(record.value)
                    if request["source"] != source or request["idempotency_key"] in seen:
                        continue
                    seen.add(request["idempotency_key"])
                    numbers.setdefault(request["user_id"], []).append(request["data"]["number"])
        return numbers
    finally:
        await consumer.stop()


async def test_a_transaction_that_rolls_back_notifies_nobody(
    server: Postgres, table: str, environ: dict[str, str], kafka: str
) -> None:
    source = uuid.uuid4().hex
    async with connected(server) as database:
        await database.execute(f"CREATE TABLE orders_{table} (id int)")
        for number, commits in enumerate((True, False, True)):
            transaction = database.transaction()
            await transaction.start()
            await database.execute(f"INSERT INTO orders_{table} VALUES ({number})")
            await insert(database, table, "ada", number)
            await (transaction.commit() if commits else transaction.rollback())
        await database.execute(f"INSERT INTO {table} (user_id, request) VALUES ('ada', '{{}}')")
    done = await once(server, table, source, environ)

    assert done.returncode == 1
    assert "2 relayed, 1 refused" in done.stderr
    assert await produced(kafka, source) == {"ada": [0, 2]}
    async with connected(server) as database:
        assert "event_type" in await database.fetchval(f"SELECT refused FROM {table} WHERE refused IS NOT NULL")


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
async def test_the_pages_transaction_notifies_if_it_commits(
    server: Postgres, table: str, environ: dict[str, str], kafka: str, ending: str
) -> None:
    page = (ROOT / "docs" / "outbox.md").read_text()
    [statements] = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    orders = f"orders_{table}"
    statements = statements.replace("tocsin_outbox", table).replace("orders", orders).replace("COMMIT;", f"{ending};")
    source = uuid.uuid4().hex
    async with connected(server) as database:
        await database.execute(f"CREATE TABLE {orders} (id int, state text); INSERT INTO {orders} VALUES (7, 'new')")
        await database.execute(statements)
        state = await database.fetchval(f"SELECT state FROM {orders}")
    done = await once(server, table, source, environ)

    assert done.returncode == 0, done.stderr
    assert state == ("shipped" if ending == "COMMIT" else "new")
    assert f"{1 if ending == 'COMMIT' else 0} relayed, 0 refused" in done.stderr


async def test_rows_that_can_not_be_taken_are_refused_and_those_behind_go_on(
    server: Postgres, table: str, environ: dict[str, str], kafka: str
) -> None:
    source, instants = uuid.uuid4().hex, ("infinity", "-infinity", "4000-01-01 00:00Z BC", "9999-12-31 23:59Z")
    async with connected(server) as database:
        for at in instants:
            await database.execute(
                f"INSERT INTO {table} (user_id, request, created_at) "
                f"VALUES ('ada', '{{\"event_type\": \"order.shipped\"}}', '{at}')"
            )
        await insert(database, table, "ada", 1)
    done = await once(server, table, source, environ)

    assert f"1 relayed, {len(instants)} refused" in done.stderr
    assert await produced(kafka, source) == {"ada": [1]}
    async with connected(server) as database:
        refused = await database.fetch(f"SELECT DISTINCT refused FROM {table} WHERE refused IS NOT NULL")
    assert [row["refused"] for row in refused] == ["created_at: must be from 1970 to 2200"]


async def test_kills_lose_nothing_and_repeat_nothing_and_keep_the_order(
    server: Postgres, table: str, environ: dict[str, str], kafka: str
) -> None:
    """Of relays, of which two run at once, and of the database."""
    source, chance = uuid.uuid4().hex, random.Random(7)
    expected: dict[str, list[int]] = {}

    async def write(some: range) -> None:
        async with connected(server) as database:
            for number in some:
                user = f"user-{number % 40}"
                await insert(database, table, user, number)
                expected.setdefault(user, []).append(number)

    async with relay(server, table, source, environ, "2"):
        for round_ in range(3):
            async with relay(server, table, source, environ) as process:
                await write(range(round_ * 600, round_ * 600 + 600))
                left = chance.randrange(1, 400)
                await eventually(partial(_fewer_wait, server, table, left))
                process.send_signal(signal.SIGKILL)
                await process.wait()
        server.stop("immediate")
        server.start()
        await write(range(1800, 2200))
        await eventually(partial(nothing_waits, server, table), 120)
    assert await produced(kafka, source) == expected


async def _fewer_wait(server: Postgres, table: str, than: int) -> bool:
    return await waiting(server, table) < than


@pytest.mark.parametrize("name", ["Orders", "a-b", "a;b", "", "a.b.c", 'x"'])
def test_a_table_has_a_plain_name(name: str) -> None:
    with pytest.raises(ValueError, match="small letters"):
        table_ddl(name)


async def test_a_table_that_is_not_there_is_named(server: Postgres, environ: dict[str, str]) -> None:
    done = await once(server, "missing", "shop", environ)

    assert done.returncode == 1
    assert "there is no table missing: `tocsin outbox ddl` prints it" in done.stderr
