"""The console's pages on a gateway with a router, an inbox and ClickHouse behind it."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import aiohttp
import pytest

from app.config import Settings
from app.store.publisher import KafkaPublisher, Outgoing
from schemas.topics import EVENTS
from tests.calling import key_hash
from tests.conftest import eventually
from tests.integration.gateway.conftest import KEYS, Caller, served

pytestmark = pytest.mark.usefixtures("workers")

_READER = "eyes." + "e" * 43


@dataclass(slots=True)
class Browser:
    """Somebody who is signed in: cookies are kept, redirects followed."""

    session: aiohttp.ClientSession
    url: str

    async def open(self, path: str) -> tuple[int, str]:
        async with self.session.get(f"{self.url}/console{path}") as response:
            return response.status, await response.text()

    async def send(self, path: str, of_page: str, **fields: str) -> tuple[int, str]:
        """Sends a form of a page."""
        _, page = await self.open(of_page)
        csrf = re.search(r'name="csrf" value="([^"]+)"', page)
        form = {"csrf": csrf.group(1) if csrf else "", **fields}
        async with self.session.post(f"{self.url}/console{path}", data=form) as response:
            return response.status, await response.text()


@pytest.fixture
async def console(settings: Settings) -> AsyncIterator[Browser]:
    keys = [
        {"id": name, "sha256": key_hash(key), "source": source, "scopes": scopes}
        for name, (key, source, scopes) in {**KEYS, "eyes": (_READER, "", ("admin:read",))}.items()
    ]
    auth = type(settings.auth).model_validate({**settings.auth.model_dump(exclude={"api_keys"}), "api_keys": keys})
    async with served(settings.model_copy(update={"auth": auth})) as url:
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            yield Browser(session, url)


async def signed_in(console: Browser, key: str) -> Browser:
    async with console.session.post(f"{console.url}/console/sign-in", data={"key": key}) as response:
        assert response.status == 200, await response.text()
    return console


async def accepted(gateway: Caller, user_id: str) -> str:
    """A notification of the user's inbox; its id, once it is sent."""
    request = {
        "user_id": user_id,
        "event_type": "note.made",
        "content": {"title": "Hello", "body": "World"},
        "channels": ["in_app"],
    }
    reply = await gateway.key("shop")("POST", "/v1/notifications", request)
    notification_id: str = reply.document["notification_id"]

    async def is_done() -> bool:
        status = await gateway.key("shop")("GET", f"/v1/notifications/{notification_id}")
        return status.status == 200 and status.document["status"] == "done"

    await eventually(is_done)
    return notification_id


_PAGES = ("", "/live", "/find", "/providers", "/replays", "/dead", "/policy", "/templates", "/query", "/audit-log")


@pytest.mark.parametrize("key", [KEYS["ops"][0], _READER], ids=["admin", "reader"])
async def test_every_page_answers_whoever_may_read(console: Browser, key: str) -> None:
    browser = await signed_in(console, key)
    for path in _PAGES:
        status, page = await browser.open(path)
        assert status == 200, (path, page)


async def test_a_key_that_only_reads_sees_no_button_and_can_change_nothing(console: Browser) -> None:
    browser = await signed_in(console, _READER)
    for path in _PAGES:
        _, page = await browser.open(path)
        forms = [form for form in re.findall(r'<form method="post" action="([^"]+)"', page) if "sign-out" not in form]
        assert forms == [], path
    status, page = await browser.send("/providers/fcm/pause", "/find", why="curiosity", confirmed="yes")
    assert status == 403


async def test_a_user_a_notification_and_its_reason_are_found(console: Browser, gateway: Caller) -> None:
    user_id = f"found-{uuid4()}"
    notification_id = await accepted(gateway, user_id)
    browser = await signed_in(console, KEYS["ops"][0])
    for what in (notification_id, notification_id.upper()):
        status, page = await browser.open(f"/find?{urlencode({'q': what})}")
        assert status == 200
        assert "Sent by in_app." in page
    status, page = await browser.open(f"/find?{urlencode({'q': user_id})}")
    assert (status, notification_id in page) == (200, True)
    status, page = await browser.open("/find?q=nobody-at-all")
    assert status == 404


async def test_what_a_user_is_called_is_escaped_and_addresses_are_masked(console: Browser, gateway: Caller) -> None:
    user_id = f"<b>{uuid4()}"
    path = f"/v1/users/{user_id.replace('<', '%3C').replace('>', '%3E')}/profile"
    profile = {"email": "someone@example.com", "name": "<script>alert(1)</script>", "locale": "de"}
    assert (await gateway.key("ops")("PATCH", path, profile)).status == 200
    browser = await signed_in(console, KEYS["ops"][0])
    status, page = await browser.open(f"/find?{urlencode({'q': user_id})}")

    assert status == 200
    assert "<script>alert" not in page
    assert "<b>" not in page
    assert "someone@example.com" not in page


async def test_a_change_is_asked_for_once_made_and_in_the_audit_log(console: Browser) -> None:
    browser, why = await signed_in(console, KEYS["ops"][0]), f"maintenance {uuid4()}"
    status, page = await browser.send("/providers/fcm/pause", "/replays", why=why)
    assert (status, why in page, "No worker calls fcm" in page) == (200, True, True)
    assert "paused" not in (await browser.open("/providers"))[1]
    status, _ = await browser.send("/providers/fcm/pause", "/replays", why=why, confirmed="yes")
    assert status == 200
    assert why in (await browser.open("/audit-log"))[1]
    status, _ = await browser.send("/providers/fcm/resume", "/replays", confirmed="yes")
    assert status == 200


async def test_an_outage_is_counted_and_replayed_with_its_receipt(console: Browser) -> None:
    browser = await signed_in(console, KEYS["ops"][0])
    span = {"channel": "push", "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T01:00:00Z"}
    status, page = await browser.send("/replays", "/replays", **span)
    assert (status, "from_ms" in page or "keeps" in page or "field" in page.lower()) == (422, True)
    now = json.loads((await browser.open("/query.csv?sql=SELECT+toUnixTimestamp(now())"))[1].split()[1])
    span = {"channel": "push", "from": _rfc3339(now - 600), "to": _rfc3339(now)}
    status, page = await browser.send("/replays", "/replays", **span)
    assert status == 200
    found = re.search(r"<code>([0-9a-f-]{36})</code>", page)
    assert found is not None

    async def is_done() -> bool:
        return 'class="state done"' in (await browser.open(f"/replays/{found.group(1)}/live"))[1]

    await eventually(is_done)


def _rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_a_dead_letter_is_shown_corrected_and_put_back(console: Browser, producer: KafkaPublisher) -> None:
    user_id, browser = f"dead-{uuid4()}", await signed_in(console, KEYS["ops"][0])
    value = {"user_id": user_id, "event_type": "not a type", "content": {"title": "T", "body": "B"}}
    await producer.publish_many([Outgoing(EVENTS, user_id.encode(), json.dumps(value).encode())])
    letter: dict[str, Any] = {}

    async def is_there() -> bool:
        page = (await browser.open("/dead?field=event_type"))[1]
        for name in dict.fromkeys(re.findall(r"/console/dead/(\d+-\d+)", page)):
            if user_id in (await browser.open(f"/dead/{name}"))[1]:
                letter["id"] = name
        return bool(letter)

    await eventually(is_there)
    path = f"/dead/{letter['id']}"
    corrected = json.dumps({**value, "event_type": "note.made", "channels": ["in_app"]})
    status, page = await browser.send(f"{path}/redrive", path, value=corrected)
    assert (status, "accepted" in page) == (200, True)
    status, page = await browser.send(f"{path}/redrive", path, value=corrected, confirmed="yes")
    assert (status, "Put back: 1 of 1." in page) == (200, True)


async def test_a_policy_that_is_wrong_is_refused_with_its_place(console: Browser) -> None:
    browser = await signed_in(console, KEYS["ops"][0])
    status, page = await browser.send("/policy", "/policy", policy="categories: {a: {channels: [pigeon]}}")

    assert status == 422
    assert "pigeon" in page


async def test_what_would_change_of_the_policy_is_shown_first(
    console: Browser, gateway: Caller, policy_changes: None
) -> None:
    browser = await signed_in(console, KEYS["ops"][0])
    status, page = await browser.send("/policy", "/policy", policy="categories: {of_mine: {channels: [in_app]}}")
    assert (status, "of_mine" in page, 'name="confirmed"' in page) == (200, True, True)
    version = (await gateway.key("ops")("GET", "/v1/policy")).document["version"]
    status, page = await browser.send(
        "/policy", "/policy", policy="categories: {of_mine: {channels: [in_app]}}", confirmed="yes"
    )
    assert status == 200
    assert f"It is version {version + 1} now." in page

    status, page = await browser.open(f"/policy/versions/{version + 1}")
    assert (status, f"What it changed of version {version}" in page, "of_mine" in page) == (200, True, True)
    status, page = await browser.open(f"/policy/versions/{version}")
    assert (status, "Put it back" in page, "of_mine" in page) == (200, True, True)
    status, page = await browser.open("/policy/versions/0")
    assert (status, "The default policy" in page) == (200, True)
    status, page = await browser.open("/policy/versions?cursor=0")
    assert (status, "There are no earlier versions." in page) == (200, True)


async def test_a_query_is_shown_and_taken_away_without_formulas(console: Browser) -> None:
    browser = await signed_in(console, KEYS["ops"][0])
    sql = urlencode({"sql": "SELECT '=1+1' AS a, '<i>' AS b"})
    status, page = await browser.open(f"/query?{sql}")
    assert (status, "&lt;i&gt;" in page, "<i>" in page) == (200, True, False)
    status, text = await browser.open(f"/query.csv?{sql}")
    assert (status, text.splitlines()[1]) == (200, "'=1+1,<i>")
    status, page = await browser.open(f"/query?{urlencode({'sql': 'DROP TABLE lifecycle'})}")
    assert status == 422
