"""The console's pages on a gateway whose ClickHouse and router are what a test says."""

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import ClientResponse, CookieJar

from app.api.callers import Callers
from app.api.console.find import lost
from app.config import ApiKey
from app.store.queries import Answer, Unavailable
from tests.calling import key_hash
from tests.key_topic import KeyTopic
from tests.unit.api.test_hostile_calls import gateway

_READER = "eyes." + "e" * 43
_KEYS = (
    ApiKey(id="eyes", sha256=key_hash(_READER), scopes=("admin:read",)),
    ApiKey(id="shop", sha256=key_hash("shop." + "s" * 43), source="shop", scopes=("send",)),
)
_AWAY = "ClickHouse is away"


@dataclass
class Behind:
    """ClickHouse, and the owner of every user. ``truncated``: there is always more."""

    is_away: bool = False
    truncated: bool = False
    rows: Sequence[list[Any]] = (["push"],)
    queries: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)

    async def run(self, sql: str, limits: Any, values: Any = None) -> Answer:
        if self.is_away:
            raise Unavailable(_AWAY)
        self.queries.append(sql)
        self.values.append(values)
        return Answer(("time",), ("String",), [*self.rows], self.truncated)

    async def read(self, role: str, user_id: str, view: str, params: Any = None, after: Any = None) -> Any:
        if view == "outlook":
            self.requests.append(json.loads(params["request"]))
            return []
        return {}


@dataclass
class Reader:
    """Somebody who may look."""

    client: Any

    async def open(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.client.get(f"/console{path}", headers=headers) as response:
            return await _page(response)

    async def send(self, path: str, **fields: str) -> tuple[int, str]:
        async with self.client.post(f"/console{path}", data=fields) as response:
            return await _page(response)


async def _page(response: ClientResponse) -> tuple[int, str]:
    assert response.content_type == "text/html"
    return response.status, await response.text()


@asynccontextmanager
async def reading(behind: Behind) -> AsyncIterator[Reader]:
    keys = KeyTopic().writer()
    async with gateway(
        callers=Callers(_KEYS, None, None), keys=keys, queries=behind, owner=behind, clock=lambda: 0
    ) as (client, _):
        client.session._cookie_jar = CookieJar(unsafe=True)
        async with client.post("/console/sign-in", data={"key": _READER}, allow_redirects=False) as response:
            assert response.status == 303
        yield Reader(client)


async def test_a_dashboard_says_so_while_clickhouse_is_away() -> None:
    async with reading(Behind(is_away=True)) as reader:
        assert (await reader.open("/dashboards"))[0] == 503
        assert _AWAY in (await reader.open("/dashboards"))[1]
        status, part = await reader.open("/dashboards/panel?name=delivery&number=0", **{"HX-Request": "true"})

    assert (status, _AWAY in part, "<html" in part) == (200, True, False)  # htmx shows nothing of another status


@pytest.mark.parametrize("chosen", ["", "push"])
async def test_a_panel_is_one_query_of_all_or_of_what_was_chosen(chosen: str) -> None:
    behind = Behind(truncated=True)
    async with reading(behind) as reader:
        status, part = await reader.open(f"/dashboards/panel?name=delivery&number=0&channel={chosen}")

    [sql] = behind.queries
    assert (status, "There are more rows" in part) == (200, True)
    assert sql.count("SELECT DISTINCT") == (2 if chosen else 3)
    assert ("IN ('push')" in sql) == bool(chosen)


async def test_what_can_be_chosen_says_when_there_is_more_than_is_listed() -> None:
    async with reading(Behind(truncated=True)) as reader:
        _, page = await reader.open("/dashboards?name=campaigns&campaign=zebra")

    assert "and more than these 1" in page
    assert "<option selected>zebra</option>" in page


async def test_a_reader_asks_what_would_happen_as_a_source_and_in_no_address() -> None:
    behind = Behind()
    async with reading(behind) as reader:
        _, page = await reader.open("/users/ada?event_type=a.b")
        assert (behind.requests, '<option value="shop">' in page) == ([], True)
        [csrf] = set(re.findall(r'name="csrf" value="([^"]+)"', page))
        asked = {"event_type": "a.b", "source": "shop", "priority": "critical", "data": '{"n": 1}'}
        assert (await reader.send("/users/ada/outlook", **asked))[0] == 403
        assert (await reader.send("/users/ada/unmask", csrf=csrf))[0] == 403
        assert (await reader.send("/users/ada/outlook", csrf=csrf, **asked))[0] == 200
        status, page = await reader.send("/users/ada/outlook", csrf=csrf, event_type="a.b", content="\u00fc" * 2000)

    assert behind.requests == [{"user_id": "ada", **asked, "data": {"n": 1}}]
    assert (status, "too much to ask" in page) == (200, True)


def _event(channel: str | None, status: str, at: str) -> dict[str, Any]:
    return {"channel": channel, "status": status, "occurred_at": at, "event_type": "order.shipped"}


def test_what_a_channel_lost_can_be_counted_for_a_replay_and_what_was_sent_cannot() -> None:
    events = [
        _event(None, "accepted", "2026-03-01T10:00:00.100Z"),
        _event("push", "queued", "2026-03-01T10:00:00.200Z"),
        _event("push", "expired", "2026-03-01T10:15:00.900Z"),
        _event("email", "sent", "2026-03-01T10:00:01Z"),
        _event("email", "failed", "2026-03-01T10:00:02Z"),
        _event("sms", "suppressed", "2026-03-01T10:00:02Z"),
        _event("in_app", "expired", "2026-03-01T10:00:02Z"),
    ]
    span = {"from": "2026-03-01T10:00:00.000Z", "to": "2026-03-01T10:15:01.000Z"}

    assert lost(events) == [{"channel": "push", "event_type": "order.shipped", **span}]


async def test_the_chart_of_the_overview_is_of_one_channel_where_one_was_chosen() -> None:
    behind = Behind(rows=())
    async with reading(behind) as reader:
        _, page = await reader.open("?channel=o'x")

    assert [sql for sql in behind.queries if "'%H:%i'" in sql and "channel = 'o\\'x'" in sql] != []
    assert 'hx-get="/console/live?channel=o%27x"' in page


async def test_a_querys_values_have_fields_of_their_own_and_are_in_no_history() -> None:
    behind, asked = Behind(), "/query?sql=SELECT+{user:String}+WHERE+{ n :UInt8}+OR+{user:String}"
    async with reading(behind) as reader:
        _, page = await reader.open(f"{asked}&param_user=o'neill<b>&param_other=1")
        assert behind.values[-1] == {"user": "o'neill<b>"}
        assert re.findall(r'<input name="(param_\w+)" value="([^"]*)"', page) == [
            ("param_user", "o&#39;neill&lt;b&gt;"),
            ("param_n", ""),
        ]
        [csv] = re.findall(r'href="/console(/query.csv[^"]+)"', page)
        assert "param_user=o%27neill%3Cb%3E" in csv
        [latest] = re.findall(r'href="([^"]+draft=[^"]+)"', page)
        assert "neill" not in latest
        async with reader.client.get(f"/console{csv.replace('&amp;', '&')}") as response:
            assert response.content_type == "text/csv"
        assert behind.values[-1] == {"user": "o'neill<b>"}
