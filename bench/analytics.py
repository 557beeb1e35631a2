"""What ClickHouse's views answer, and what it costs to keep them: a realistic history, made inside the engine.

Two parts: ``views`` asks every view and every panel of the dashboards on many sends; ``inserts`` measures the CPU that
a notification's rows take with the states that are kept of them, beside the same inserts without any.
"""

import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from string import Template
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
from clickhouse_connect.driver import AsyncClient

from app.config import ClickHouse, Data, Settings
from app.defaults import dashboard_panels
from app.store.announcement import announced_query_url
from app.store.clickhouse import connect
from app.store.embedded import embedded_clickhouse
from app.store.lifecycle_rows import COLUMNS, Row
from app.store.lifecycle_sink import MAX_ROWS
from app.store.migrations import Kept, migrate
from app.store.panels import expanded, listed
from app.store.settling import Settler
from bench.figures import Figure, compared, held
from bench.run import Run

NAME = "analytics"
VIEWS, INSERTS = "views", "inserts"
CASES = (VIEWS, INSERTS)

#: Sends: of the short form, of a whole run, and where this benchmark is asked for by its name.
_SHORT, _LONG, _BY_NAME = 1_000_000, 3_000_000, 30_000_000
_DAYS = 30
_SENDS_AT_ONCE = 50_000
_RUNS = 5
#: A query's memory is the least of these within which it answers.
_MEMORY_MB = (25, 50, 100, 200)
#: Rows of an insert before there were states.
_ROWS_BEFORE = 10_000
_TURNS = 3
_AT_MOST = 1.5
_HISTORY = Path(__file__).with_name("history.sql")


async def measure(run: Run) -> None:
    if run.wants(NAME, INSERTS):
        await _measure_inserts(run)
    if run.wants(NAME, VIEWS):
        await _measure_views(run)


def sends_of(run: Run) -> int:
    """How many sends the history has."""
    return _SHORT if run.short else _BY_NAME if NAME in run.only else _LONG


@dataclass(frozen=True, slots=True)
class History:
    """``sends`` over 30 days that end at ``until_ms``."""

    sends: int
    until_ms: int

    def insert(self, first: int, count: int) -> str:
        begin_ms = self.until_ms - _DAYS * 86_400_000
        return Template(_HISTORY.read_text("utf-8")).substitute(
            columns=", ".join(COLUMNS),
            users=max(1, self.sends // 10),
            a_campaign=max(1, self.sends // 30),
            begin_ms=begin_ms,
            gap_ms=_DAYS * 86_400_000 / self.sends,
            first=first,
            count=count,
        )


@asynccontextmanager
async def _clickhouse(folder: Path) -> AsyncIterator[tuple[Settings, AsyncClient]]:
    """An empty embedded ClickHouse with the schema."""
    shutil.rmtree(folder, ignore_errors=True)
    settings = Settings(clickhouse=ClickHouse(url=f"chdb://{folder}/clickhouse"), data=Data(dir=folder))
    try:
        async with (
            embedded_clickhouse(folder / "clickhouse", folder),
            await connect(settings, database=None) as client,
        ):
            await migrate(client, Kept.of(settings.clickhouse))
            yield settings, client
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _settler(settings: Settings) -> Settler:
    return Settler(lambda: connect(settings, database=None), Kept(), lambda: time.time_ns() // 1_000_000)


# --- views -----------------------------------------------------------------------------------------------------------


async def _measure_views(run: Run) -> None:
    history = History(sends_of(run), time.time_ns() // 3_600_000_000_000 * 3_600_000)
    case = f"{history.sends:,} sends"
    async with _clickhouse(run.folder.resolve() / NAME) as (settings, client):
        await _fill(run, client, history)
        mine = _settler(settings)
        began = time.process_time()
        await mine.step()
        await mine.step()
        settled_s = time.process_time() - began
        await mine.close()
        run.tell(f"{NAME}: {case}, kept", await _kept(client, history, case, settled_s))
        async with _Asker(settings) as asker:
            await _tell_queries(run, asker, case, await _questions(client))


async def _fill(run: Run, client: AsyncClient, history: History) -> None:
    task = run.progress.add_task("sends made", total=history.sends)
    for first in range(0, history.sends, _SENDS_AT_ONCE):
        count = min(_SENDS_AT_ONCE, history.sends - first)
        await client.command(
            history.insert(first, count),
            settings={"max_partitions_per_insert_block": 100, "max_memory_usage": 2_000_000_000},
        )
        run.progress.update(task, completed=first + count)


async def _kept(client: AsyncClient, history: History, case: str, settled_s: float) -> list[Figure]:
    """What the tables take on disk, by send."""
    found = await client.query(
        "SELECT table, sum(bytes_on_disk), sum(rows) FROM system.parts WHERE database = 'notify' AND active "
        "GROUP BY table HAVING sum(rows) > 0 ORDER BY 2 DESC"
    )
    rows = [row for row in found.result_rows if row[1] >= history.sends / 10]
    figures = [
        Figure(benchmark=NAME, case=case, name=f"{table} on disk", value=size / history.sends, unit="bytes a send")
        for table, size, _ in rows
    ]
    states = sum(size for table, size, _ in found.result_rows if table != "lifecycle")
    return [
        *figures,
        Figure(benchmark=NAME, case=case, name="states on disk", value=states / history.sends, unit="bytes a send"),
        Figure(
            benchmark=NAME, case=case, name="settling, CPU", value=settled_s * 1e6 / history.sends, unit="µs a send"
        ),
    ]


async def _questions(client: AsyncClient) -> dict[str, str]:
    """By name: of each view what people ask of it, and each panel's query, with its variables expanded."""
    [[notification, user]] = (
        await client.query("SELECT notification_id, user_id FROM notify.lifecycle WHERE status = 'sent' LIMIT 1")
    ).result_rows
    day, hour = "hour >= today() - 3 AND hour < today() - 2", "hour = toStartOfHour(now() - INTERVAL 3 DAY)"
    questions = {
        "engagement of a campaign": "SELECT * FROM engagement WHERE campaign_id = 'campaign-7'",
        # (as before there was one: an expression can't use it)
        "engagement, not by its index": "SELECT * FROM engagement WHERE concat(campaign_id, '') = 'campaign-7'",
        "latencies of an hour": f"SELECT * FROM latency_hourly WHERE {hour}",
        "delivery of a day": f"SELECT * FROM delivery_hourly WHERE {day}",
        "decisions of a day": f"SELECT * FROM decisions WHERE {day}",
        "service levels of a day": f"SELECT * FROM slo_hourly WHERE {day}",
        "providers of a day": f"SELECT * FROM provider_hourly WHERE {day}",
        "users reached on a day": "SELECT * FROM users_reached WHERE day = today() - 3",
        "one notification": f"SELECT * FROM notifications WHERE notification_id = '{notification}'",
        "one user": f"SELECT * FROM notifications WHERE user_id = '{user}'",
    }
    source = dashboard_panels()
    chosen: dict[str, Sequence[Any]] = {}
    for name, variable in source["variables"].items():
        rows = (await client.query(_expanded(variable["sql"], {}), settings={"database": "notify"})).result_rows
        chosen[name] = [row[0] for row in rows[:20]]
    for dashboard in source["dashboards"]:
        for panel in dashboard["panels"]:
            questions[f"{dashboard['name']}: {panel['title']}"] = _expanded(panel["sql"], chosen)
    return questions


def _expanded(sql: str, chosen: dict[str, Sequence[Any]]) -> str:
    """As Grafana's plugin expands it, for the last seven days."""
    return expanded(sql, "now() - INTERVAL 7 DAY", "now()", lambda name: listed(chosen[name]))


class _Asker:
    """Asks as ``tocsin query`` does, by the same user and within the same limits."""

    def __init__(self, settings: Settings) -> None:
        url = urlsplit(announced_query_url(settings.data.dir) or "")
        self._url = f"http://127.0.0.1:{url.port}/"
        self._headers = {"Authorization": aiohttp.encode_basic_auth(url.username or "", url.password or "")}
        self._http = aiohttp.ClientSession()

    async def __aenter__(self) -> "_Asker":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def ask(self, sql: str, memory_mb: int = _MEMORY_MB[-1]) -> tuple[float, int] | None:
        """Seconds by the engine's clock, and rows read; None: it was refused."""
        params = {"max_memory_usage": str(memory_mb * 1_000_000)}
        async with self._http.post(self._url, data=sql.encode(), params=params, headers=self._headers) as answer:
            if answer.status != 200:
                return None
            statistics = msgspec.json.decode(await answer.read())["statistics"]
            return statistics["elapsed"], statistics["rows_read"]


async def _tell_queries(run: Run, asker: _Asker, case: str, questions: dict[str, str]) -> None:
    figures = []
    for name, sql in questions.items():
        answers = [answer for _ in range(_RUNS + 1) if (answer := await asker.ask(sql)) is not None][1:]
        if not answers:
            figures.append(
                Figure(benchmark=NAME, case=case, name=name, value=0, unit="s", bound="answers", holds=False)
            )
            continue
        memory_mb = [mb for mb in _MEMORY_MB if await asker.ask(sql, mb) is not None]
        detail = {"rows_read": answers[-1][1], "memory_mb_at_most": memory_mb[0] if memory_mb else None}
        seconds = median(elapsed for elapsed, _ in answers)
        figure = Figure(benchmark=NAME, case=case, name=name, value=seconds, unit="s", detail=detail)
        figures.append(held(figure, at_most=1.0))
    run.tell(f"{NAME}: {case}, warm, median of {_RUNS}", figures)


# --- inserts ---------------------------------------------------------------------------------------------------------


async def _measure_inserts(run: Run) -> None:
    """The same rows in turns: into a table that nothing is made of, as before there were states, and ``lifecycle``."""
    sends = run.size(40_000, 10_000)
    without, small, large, settled = (
        f"without states, {_ROWS_BEFORE:,} rows an insert",
        f"with states, {_ROWS_BEFORE:,} rows an insert",
        f"with states, {MAX_ROWS:,} rows an insert",
        "the same, settled as well",
    )
    spent: dict[str, list[float]] = {name: [] for name in (without, small, large, settled)}
    async with _clickhouse(run.folder.resolve() / NAME) as (settings, client):
        await client.command("CREATE TABLE notify.alone AS notify.lifecycle")
        history = History(sends * 2 * (_TURNS + 1), time.time_ns() // 3_600_000_000_000 * 3_600_000)
        mine = _settler(settings)
        for turn in range(_TURNS + 1):
            rows = await _rows(client, history, 2 * turn * sends, sends)
            others = await _rows(client, history, (2 * turn + 1) * sends, sends)
            found = {without: await _cpu(_insert(client, "alone", rows, _ROWS_BEFORE))}
            found[small] = await _cpu(_insert(client, "lifecycle", rows, _ROWS_BEFORE))
            await mine.step()
            found[large] = await _cpu(_insert(client, "lifecycle", others, MAX_ROWS))
            found[settled] = found[large] + await _cpu(mine.step())
            for name, value in found.items() if turn else ():  # the first warms up
                spent[name].append(value * 1e6 / sends)
        await mine.close()
    base, *figures = (
        Figure(benchmark=NAME, case=name, name="insert, CPU", value=median(values), unit="µs a notification")
        for name, values in spent.items()
    )
    run.tell(f"{NAME}: inserts", [base, *(compared(figure, base, at_most=_AT_MOST) for figure in figures)])


async def _rows(client: AsyncClient, history: History, first: int, count: int) -> list[Row]:
    """Rows as the sink makes them, in the order of time; the tables stay empty of them."""
    await client.command("CREATE TABLE IF NOT EXISTS notify.staged AS notify.lifecycle")
    await client.command(history.insert(first, count).replace("notify.lifecycle", "notify.staged"))
    instants = ("occurred_at", "recorded_at")
    picked = ", ".join(f"toUnixTimestamp64Milli({c}) AS {c}_" if c in instants else c for c in COLUMNS)
    found = await client.query(f"SELECT {picked} FROM notify.staged ORDER BY recorded_at")
    await client.command("TRUNCATE TABLE notify.staged")
    return [tuple(row) for row in found.result_rows]


async def _insert(client: AsyncClient, table: str, rows: Sequence[Row], at_once: int) -> None:
    for at in range(0, len(rows), at_once):
        columns = list(zip(*rows[at : at + at_once], strict=True))
        await client.insert(f"notify.{table}", columns, column_names=COLUMNS, column_oriented=True)


async def _cpu(act: Awaitable[None]) -> float:
    """CPU seconds of this process, in which the engine runs."""
    began = time.process_time()
    await act
    return time.process_time() - began
