"""Whatever is asked of the console's pages: the answer is a page that says what is wrong, and never that it failed."""

import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from aiohttp import CookieJar
from yarl import URL

import app.api.console as console
from app.api.callers import Callers
from app.api.console import sessions, site
from app.api.console.pages import View
from app.config import ApiKey
from app.store.queries import Answer
from tests.calling import key_hash
from tests.key_topic import KeyTopic
from tests.unit.api.test_hostile_calls import NEW_ID, gateway

KEY = "ops." + "o" * 43
_SOURCES = Path(console.__file__).parent.glob("*.py")
_READS = re.compile(
    r'page\.query\("(\w+)"\)|form\.get\("(\w+)"|_(?:ASKED|FIELDS) = \(([^)]*)\)|for name in \(([^)]*)\)'
)


def _names_in(file: Path) -> list[str]:
    """What its pages read of their address or form."""
    found = (name for groups in _READS.findall(file.read_text()) for name in re.findall(r"\w+", " ".join(groups)))
    return sorted({*found} - {"csrf", "confirmed"})


_NAMES = sorted({name for source in _SOURCES for name in _names_in(source)})
_HOSTILE = {
    "long": b"x" * 5000,
    "unicode": "\U0001f600é\u202e\u2028".encode(),
    "surrogate": b"\xed\xa0\x80",
    "not UTF-8": b"\xff\xfe",
    "NUL": b"a\0b",
    "quotes": b"'\\'\"`;--<script>alert(1)</script>{{7*7}}",
    "slashes": b"../../..//etc/passwd",
    "negative": b"-1",
    "huge": b"9" * 400,
    "infinite": b"1e999",
    "nested": b"[" * 1500,
    "nothing": b"",
    "an id": NEW_ID.encode(),
}
_VIEWS = [view for module in site._PAGES for view in module.VIEWS]


class Behind:
    """ClickHouse: each statement is text that it could read, and finds nothing, or what a count finds."""

    async def run(self, sql: str, limits: Any, values: Any = None) -> Answer:
        assert "\0" not in sql.encode().decode() or sql == "a\0b"  # (the page of queries)
        return Answer(("n",), ("UInt64",), [[0]] if "count() AS n" in sql[:30] else [], False)


class Sends:
    """Nothing is recorded of anybody."""

    async def of(self, user_id: str, asked: Sequence[Any]) -> dict[str, Any]:
        user_id.encode()
        return {}


@asynccontextmanager
async def operating(**more: Any) -> AsyncIterator[Any]:
    """Somebody who may act; and their form's token."""
    keys = (ApiKey(id="ops", sha256=key_hash(KEY), scopes=("admin",)),)
    async with gateway(
        callers=Callers(keys, None, None),
        keys=KeyTopic().writer(),
        **{"queries": Behind(), "sends": Sends(), "clock": lambda: 0, **more},
    ) as (client, log):
        client.session._cookie_jar = CookieJar(unsafe=True)
        async with client.post("/console/sign-in", data={"key": KEY}, allow_redirects=False) as response:
            assert response.status == 303
        async with client.get("/console/users/ada") as response:
            [csrf] = set(re.findall(r'name="csrf" value="([^"]+)"', await response.text()))
        yield client, csrf, log


def test_the_names_that_pages_read_are_known() -> None:
    assert {"q", "user_id", "sql", "cursor", "event_type", "channel", "policy", "to", "key", "value"} <= set(_NAMES)


@pytest.mark.parametrize("view", _VIEWS, ids=lambda view: f"{view.method} {view.path or '/'}")
async def test_hostile_input_gets_a_page_that_says_so(view: View) -> None:
    """Each value in every place at once, and in each field that the page's module reads."""
    async with operating() as (client, csrf, _):
        own = _names_in(Path(sys.modules[view.handler.__module__].__file__ or ""))
        for value in _HOSTILE.values():
            await _check(client, view, csrf, value, _NAMES)
        for name, value in zip(own, cycle(_HOSTILE.values()), strict=False):
            await _check(client, view, csrf, value, [name])


async def _check(client: Any, view: View, csrf: str, value: bytes, names: Sequence[str]) -> None:
    text = quote_from_bytes(value, safe="")
    path = "/console" + re.sub(r"\{\w+\}", text or "%20", view.path)
    fields = "&".join(f"{name}={text}" for name in names)
    if view.method == "GET":
        asked = client.get(URL(f"{path}?{fields}"[:8000], encoded=True), allow_redirects=False)
    else:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        asked = client.post(
            URL(path, encoded=True), data=f"{fields}&csrf={csrf}", headers=headers, allow_redirects=False
        )
    async with asked as response:
        said = await response.text()
        assert response.status < 500, (value[:20], names, said)
        assert "it has been logged" not in said
        assert "<script>alert" not in said


@pytest.mark.parametrize(
    ("to", "leads"),
    [
        ("/console/dead?reason=a%20b", "/console/dead?reason=a%20b"),
        ("/console", "/console"),
        ("", "/console"),
        *((each, "/console") for each in ("//evil.example", "https://evil.example/console", "/v1/policy")),
        *((each, "/console") for each in ("/console/../v1", "/console\\@evil", "/consolex", "/console/sign-out")),
        *((each, "/console") for each in ("/console/%2e%2e/v1", "/console/.%2E/v1", "/console/%2E./v1")),
        *((each, "/console") for each in ("/console/a\r\nSet-Cookie: a=b", "/console/\0", "/console/" + "a" * 3000)),
    ],
)
async def test_whoever_signs_in_comes_to_where_they_were_and_to_no_other_place(to: str, leads: str) -> None:
    async with operating() as (client, _, _):
        response = await client.post("/console/sign-in", data={"key": KEY, "to": to}, allow_redirects=False)
        assert response.headers["Location"] == leads


@pytest.mark.parametrize(
    ("method", "headers", "to"),
    [
        ("GET", {}, "%2Fconsole%2Fdead%3Freason%3Da"),
        (
            "GET",
            {"HX-Request": "true", "HX-Current-URL": "http://a.example/console/dead?b=c"},
            "%2Fconsole%2Fdead%3Fb%3Dc",
        ),
        ("POST", {"Referer": "http://a.example/console/policy"}, "%2Fconsole%2Fpolicy"),
        ("POST", {"Referer": "http://[::1/"}, None),
    ],
)
async def test_whose_session_is_over_signs_in_on_a_whole_page_and_comes_back(
    method: str, headers: dict[str, str], to: str | None
) -> None:
    async with operating() as (client, _, _):
        client.session.cookie_jar.clear()
        headers = {"Cookie": f"{sessions.COOKIE}=over"} | headers
        path = "/console/dead?reason=a" if method == "GET" else "/console/policy"
        async with client.request(method, path, headers=headers, allow_redirects=False) as response:
            is_part = "HX-Request" in headers
            assert response.status == (200 if is_part else 303)
            assert await response.text() == ""
            leads = response.headers["HX-Redirect" if is_part else "Location"]
    assert leads == "/console/sign-in?over=1" + (f"&to={to}" if to else "")


@pytest.mark.parametrize(
    ("public_url", "has_tls", "is_secure"),
    [
        (None, False, False),
        ("http://tocsin.example", False, False),
        ("https://tocsin.example", False, True),
        (None, True, True),
    ],
)
async def test_cookies_go_over_tls_alone_where_the_gateway_or_its_proxy_has_it(
    public_url: str | None, has_tls: bool, is_secure: bool
) -> None:
    key = ApiKey(id="ops", sha256=key_hash(KEY), scopes=("admin",))
    callers = Callers([key], None, None)
    async with gateway(callers=callers, public_url=public_url, has_tls=has_tls) as (client, _):
        answer = await client.post("/console/sign-in", data={"key": KEY}, allow_redirects=False)

    assert answer.status == 303
    assert answer.cookies[sessions.COOKIE]["secure"] == (is_secure or "")
