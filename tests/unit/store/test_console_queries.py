"""What the console's pages ask ClickHouse: each query may be asked, and runs, whatever the ids in it hold."""

from collections.abc import AsyncIterator

import pytest
from clickhouse_connect.driver import AsyncClient

from app.api.console import counted, find, overview, providers, query, replays
from app.config import Settings
from app.store.queries import Limits, Queries
from app.store.sql import quoted
from tests.unit.store.conftest import event, store

_WHAT = quoted("o'br\\ien\n\U0001f600 {what}")
_CHOSEN = {"channel": "push", "status": "sent", "reason": "", "provider": "fcm", "priority": "high"}
_STATEMENTS = {
    **{name: getattr(overview, name) for name in ("_ACCEPTED", "_CHANNELS", "_LATENCY", "_WAITS")},
    **{f"minutes of {channel}": overview.minutes_of(channel) for channel in ("", "push", "o'br\\ien")},
    **{name: getattr(overview, name).format(**_CHOSEN) for name in ("COUNTED", "TIMED", "WAITING")},
    **{name: getattr(providers, name) for name in ("_CALLS", "_ERRORS", "_ANSWERED")},
    **{name: getattr(replays, name) for name in ("_OUTAGES", "_LOST")},
    **{
        name: getattr(find, name).format(what=_WHAT, user=_WHAT)
        for name in ("_OF_USER", "_BY_SEND", "_BY_MESSAGE", "_KNOWN", "_OF_ANYBODY", "_RECIPIENTS")
    },
    **dict(query._EXAMPLES),
    "accepted": counted.accepted(60),
    "calls": counted.calls("fcm'", "sending"),
    "refused": counted.refused("fcm", "failed", "o'br\\ien"),
    "waited": counted.waited("push", "2026-11-20 10:00:00", "2026-11-20 10:05:00"),
    "lost": counted.lost("push", "2026-11-20 10:00:00"),
    **{
        f"delivery {channel} {name}": counted.delivery("o'brien", channel, name)
        for channel in ("all", "push")
        for name in ("pending", "sent", "delivered", "opened", "clicked")
    },
}


@pytest.fixture
async def queries(client: AsyncClient, settings: Settings) -> AsyncIterator[Queries]:
    queries = Queries(settings)
    yield queries
    await queries.close()


async def test_every_query_of_a_page_may_be_asked_and_runs(client: AsyncClient, queries: Queries) -> None:
    await store(client, event("accepted"), event("sent", 5, channel="push", provider="fcm", send_id="s"))
    for name, sql in _STATEMENTS.items():
        answer = await queries.run(sql.strip(), Limits(rows=100))
        assert answer.columns, name


async def test_what_a_number_leads_to_is_what_it_counts(client: AsyncClient, queries: Queries) -> None:
    await store(
        client,
        event("accepted"),
        event("sending", 4, channel="push", provider="fcm", send_id="s"),
        event("sent", 5, channel="push", provider="fcm", send_id="s"),
        event("delivered", 6, channel="push", provider="fcm", send_id="s"),
        event("queued", 4, channel="email", send_id="t"),
    )
    asked = {
        counted.delivery("n", "push", "sent"): 1,
        counted.delivery("n", "push", "delivered"): 1,
        counted.delivery("n", "push", "opened"): 0,
        counted.delivery("n", "email", "pending"): 1,
        counted.delivery("n", "email", "sent"): 0,
        counted.delivery("another", "push", "sent"): 0,
    }
    assert {sql: len((await queries.run(sql, Limits(rows=100))).rows) for sql in asked} == asked


async def test_a_moment_and_a_number_are_drawn_and_nothing_else_is() -> None:
    moments = ["2026-11-20 10:00:00", "2026-11-20 11:00:00"]
    assert query.is_over_time([[at, "push", 1] for at in moments])
    assert query.is_over_time([["2026-11-20", 1.5], ["2026-11-21", None, 2]])
    assert not query.is_over_time([])
    assert not query.is_over_time([[moments[0], 1]])
    assert not query.is_over_time([[at, "push", True] for at in moments])
    assert not query.is_over_time([["push", 1], ["sms", 2]])
    assert not query.is_over_time([[1, 1], [2, 2]])
