"""Streams of an inbox over HTTP: what is on the wire, who may open one, and how it ends."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from app.api import inbox_stream
from app.api.connections import ConnectionLimits, Connections, connection_factory
from app.api.live import Live
from app.api.server import create_app
from app.dev.ports import free_port
from app.domain.catalog import Catalog
from app.domain.policy import parse_policy
from app.store.inbox_follower import InboxFollower
from schemas.inbox_changes import encode_inbox_record
from schemas.requests import Content
from schemas.topics import COMMANDS, INBOX_CHANGES
from tests.calling import bearer, user_token
from tests.lacking import lacking
from tests.live import Inbox, live_of
from tests.records import Record
from tests.security.conftest import POLICY, Config, some_deps

PATH = "/v1/users/u1/inbox"


class Watched(Connections):
    """Of a test that waits for what becomes of its connections."""

    def blocked(self) -> bool:
        return any(connection.is_blocked for connection in self._all)

    def forgotten_within_ms(self) -> set[int]:
        """In which the kernel gives up whoever doesn't acknowledge what was written."""
        transports = [each.transport for each in self._all if each.transport is not None]
        sockets = [transport.get_extra_info("socket") for transport in transports]
        return {each.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) for each in sockets}

    async def gone(self) -> None:
        while len(self):
            await asyncio.sleep(0.01)


class Served:
    """A gateway over one inbox. The second one shares its topic."""

    def __init__(self, inbox: Inbox, live: Live, follower: InboxFollower) -> None:
        self.inbox, self.live, self.follower = inbox, live, follower
        self.url = ""
        self.session: aiohttp.ClientSession = cast(Any, None)
        self.connections: Watched = cast(Any, None)
        #: Where a page may be whose origin is allowed.
        self.page_port = free_port()
        self._told = 0

    def tell(self) -> None:
        """The topic says what the inbox has put there."""
        for change in self.inbox.changes[self._told :]:
            value = encode_inbox_record(change)
            self.follower.hand_over(Record(INBOX_CHANGES, 0, 0, 0, b"u1", value))
        self._told = len(self.inbox.changes)

    def item(self) -> str:
        name = self.inbox.item()
        self.tell()
        return name

    def get(self, path: str = "/stream", token: str | None = "u1", **headers: str) -> Any:
        given = headers if token is None else headers | bearer(user_token(token))
        return self.session.get(f"{self.url}{PATH}{path}", headers=given)

    async def ticket(self, **claims: Any) -> str:
        given = bearer(user_token("u1", **claims))
        async with self.session.post(f"{self.url}{PATH}/ticket", headers=given) as response:
            assert response.status == 200
            return str((await response.json())["ticket"])


class Obeyed:
    """A log whose commands the inbox obeys at once."""

    def __init__(self, served: Served) -> None:
        self._served = served

    async def publish(self, topic: str, key: bytes | None, value: bytes) -> tuple[int, int]:
        assert topic == COMMANDS
        self._served.inbox.take_command(value)
        self._served.tell()
        return 0, 0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def serving(longest_s: float = 1e9, policy: str = POLICY, **limits: int) -> AsyncIterator[Served]:
    inbox = Inbox()
    live, follower = live_of(inbox, now_ms, longest_s=longest_s, **limits)
    served = Served(inbox, live, follower)
    origins = ("https://app.example", f"http://127.0.0.1:{served.page_port}")
    deps = replace(
        some_deps(live, inbox, publisher=Obeyed(served), origins=origins),
        config=cast(Any, Config(Catalog(parse_policy(policy), 1, {}))),
        new_id=lambda: str(uuid4()),
    )
    runner = web.AppRunner(create_app(deps), shutdown_timeout=5.0)
    await runner.setup()
    assert runner.server is not None
    served.connections = Watched(ConnectionLimits(blocked_s=3600.0))  # only what ends them here ends them
    factory = connection_factory(runner.server, served.connections)
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as served.session:
            yield served
    finally:
        live.streams.stop()
        server.close()
        await runner.cleanup()


async def events(response: aiohttp.ClientResponse, number: int) -> list[dict[str, Any]]:
    """The next events of a stream, comments and retry left out."""
    found: list[dict[str, Any]] = []
    while len(found) < number:
        block = await response.content.readuntil(b"\n\n")
        fields = dict(line.split(": ", 1) for line in block.decode().strip().splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append({"id": fields["id"], "event": fields["event"], "data": json.loads(fields["data"])})
    return found


async def test_a_stream_says_what_comes_and_what_becomes_of_it() -> None:
    async with serving() as served, served.get() as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert "no-transform" in response.headers["Cache-Control"]
        [count] = await events(response, 1)
        assert count == {"id": "0", "event": "count", "data": {"unread": 0, "unseen": 0}}

        name = served.item()
        [item, count] = await events(response, 2)
        assert item["data"] == served.inbox.shown()[0]
        assert item["id"] == count["id"] == served.inbox.page()["last_event_id"]
        assert count["data"] == {"unread": 1, "unseen": 1}

        served.inbox.mark(name, "read")
        served.inbox.command("inbox.mark", all=True, **{"as": "archived"})
        served.tell()
        told = await events(response, 4)
        assert [e["data"] for e in told[::2]] == [
            {"id": name, "seen": True, "read": True, "archived": False},
            {"all": True, "seen": True, "archived": True},
        ]


async def test_whoever_vanishes_without_a_word_counts_no_longer_than_one_who_reads_nothing() -> None:
    """(tpeczek/Lib.AspNetCore.ServerSentEvents#69: who came back was refused for the connection that was lost.)"""
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        lacking("it needs TCP_USER_TIMEOUT: run it on Linux")
    async with serving() as served, served.get() as response:
        assert response.status == 200
        assert served.connections.forgotten_within_ms() == {3_600_000}


async def test_a_websocket_says_the_same() -> None:
    async with serving() as served:
        token = bearer(user_token("u1"))
        async with (
            served.get() as response,
            served.session.ws_connect(f"{served.url}{PATH}/ws", headers=token) as ws,
        ):
            first = [await ws.receive_json(timeout=60)]
            assert first == await events(response, 1)
            served.item()
            assert [await ws.receive_json(timeout=60) for _ in range(2)] == await events(response, 2)


@pytest.mark.parametrize("way", ["header", "parameter", "header before parameter"])
async def test_a_stream_resumes_where_it_was_told(way: str) -> None:
    async with serving() as served:
        served.item()
        last_id = served.inbox.page()["last_event_id"]
        served.item()
        headers = {"Last-Event-ID": last_id} if "header" in way else {}
        given = "?last_event_id=" + ("0" if "before" in way else last_id) if "parameter" in way else ""
        async with served.get(f"/stream{given}", **headers) as response:
            told = await events(response, 3)
        assert [e["event"] for e in told] == ["count", "notification", "count"]
        assert told[0]["id"] == last_id


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "9" * 19, "١", "1 2", "0x1"])
async def test_a_malformed_id_is_refused_by_name(given: str) -> None:
    async with serving() as served:
        async with served.session.get(
            f"{served.url}{PATH}/stream", params={"last_event_id": given}, headers=bearer(user_token("u1"))
        ) as response:
            assert (response.status, (await response.json())["field"]) == (400, "last_event_id")
        assert served.live.streams.open == 0


# --- tickets


@pytest.mark.parametrize("path", ["/stream", "/ws"])
async def test_a_ticket_opens_one_stream(path: str) -> None:
    async with serving() as served:
        ticket = await served.ticket()
        url = f"{served.url}{PATH}{path}?ticket={ticket}"
        if path == "/ws":
            async with served.session.ws_connect(url) as ws:
                assert (await ws.receive_json(timeout=60))["event"] == "count"
        else:
            async with served.session.get(url) as response:
                await events(response, 1)
        async with served.session.get(url.replace("/ws", "/stream")) as response:
            assert (response.status, (await response.json())["field"]) == (401, "ticket")


async def test_a_ticket_that_two_gateways_take_at_once_opens_one_stream() -> None:
    async with serving() as one, serving() as other:
        ticket = one.live.tickets.read(await one.ticket())
        both = [one.follower, other.follower]
        for gateway in (one, other):
            gateway.live.tickets._publisher = cast(Any, Both(both))
        outcomes = await asyncio.gather(
            *(gateway.live.tickets.claim(ticket) for gateway in (one, other)), return_exceptions=True
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "Problem"]


class Both:
    """One log, which two gateways follow."""

    def __init__(self, followers: list[InboxFollower]) -> None:
        self._followers = followers

    async def publish(self, topic: str, key: bytes, value: bytes) -> tuple[int, int]:
        await asyncio.sleep(0)
        for follower in self._followers:
            follower.hand_over(Record(topic, 0, 0, 0, key, value))
        return 0, 0


@pytest.mark.parametrize("spoilt", ["another user's", "changed", "expired", "none", "a token", "long"])
async def test_what_is_no_good_ticket_opens_nothing(spoilt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as served:
        ticket, user, status = await served.ticket(), "u1", 401
        match spoilt:
            case "another user's":
                user, status = "u2", 403
            case "changed":
                ticket = "a" + ticket[1:]
            case "expired":
                monkeypatch.setattr(served.live.tickets, "_clock", lambda: now_ms() + 60_001)
            case "none":
                ticket = ""
            case "a token":
                ticket = user_token("u1")
            case "long":
                ticket *= 100
        url = f"{served.url}/v1/users/{user}/inbox/stream"
        async with served.session.get(url, params={"ticket": ticket[:7000]}) as response:
            assert response.status == status


async def test_a_ticket_is_good_for_streams_alone() -> None:
    async with (
        serving() as served,
        served.session.get(f"{served.url}{PATH}?ticket={await served.ticket()}") as response,
    ):
        assert response.status == 401


async def test_tickets_and_streams_are_their_users_alone() -> None:
    async with serving() as served:
        for token, status in ((None, 401), ("u2", 403)):
            for path in ("/stream", "/ws"):
                async with served.get(path, token) as response:
                    assert response.status == status
            given = {} if token is None else bearer(user_token(token))
            async with served.session.post(f"{served.url}{PATH}/ticket", headers=given) as response:
                assert response.status == status


# --- how it ends


async def _with_a_token_that_ends(served: Served, opened_by: str, in_s: int) -> int:
    """Reads a stream to its end, which its token brings; returns the status."""
    given = bearer(user_token("u1", exp=int(time.time()) + in_s))
    asked: dict[str, Any] = {"headers": given}
    if opened_by == "ticket":
        async with served.session.post(f"{served.url}{PATH}/ticket", headers=given) as response:
            if response.status != 200:
                return response.status
            asked = {"params": {"ticket": (await response.json())["ticket"]}}
    async with served.session.get(f"{served.url}{PATH}/stream", **asked) as response:
        async with asyncio.timeout(60):
            await response.content.read()
        return response.status


@pytest.mark.parametrize("opened_by", ["token", "ticket"])
async def test_a_stream_ends_when_the_token_does(opened_by: str) -> None:
    async with serving() as served:
        for in_s in (2, 30):  # (on a busy machine the first may have ended before the stream opens)
            if await _with_a_token_that_ends(served, opened_by, in_s) == 200:
                break
        assert served.live.streams.ended["token"] == 1


async def test_a_token_that_has_just_ended_opens_no_stream() -> None:
    """Clocks may differ, but no stream outlives its token."""
    async with serving() as served:
        given = bearer(user_token("u1", exp=int(time.time()) - 1))
        async with served.session.get(f"{served.url}{PATH}/stream", headers=given) as response:
            assert response.status == 401


async def test_streams_end_at_once_when_the_gateway_stops() -> None:
    async with serving() as served:
        url, token = f"{served.url}{PATH}/ws", bearer(user_token("u1"))
        async with served.get() as response, served.session.ws_connect(url, headers=token) as ws:
            await events(response, 1)
            await ws.receive_json(timeout=60)
            served.live.streams.stop()
            async with asyncio.timeout(60):
                await response.content.read()
                message = await ws.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY)
        async with served.get() as response:
            assert (response.status, "Retry-After" in response.headers) == (503, True)


async def test_a_client_that_leaves_gives_its_place_back_at_once() -> None:
    async with serving(most_of_user=1) as served:
        async with served.get() as response:
            await events(response, 1)
            async with served.get() as second:
                assert second.status == 429
        async with asyncio.timeout(60):
            while served.live.streams.open:
                await asyncio.sleep(0.01)


async def test_silence_is_broken_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_stream, "_HEARTBEAT_S", 0.01)
    async with serving() as served, served.get() as response:
        await events(response, 1)
        assert await response.content.readuntil(b"\n\n") == b":\n\n"


@asynccontextmanager
async def reading_nothing(served: Served, path: str) -> AsyncIterator[None]:
    """A client that has its first event, and takes nothing more."""
    host, _, port = served.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    token = bearer(user_token("u1"))["Authorization"]
    headers = f"Host: x\r\nAuthorization: {token}\r\n{upgrade + key if path == '/ws' else ''}"
    writer.write(f"GET {PATH}{path} HTTP/1.1\r\n{headers}\r\n".encode())
    await reader.readuntil(b"unseen")
    yield
    writer.transport.abort()


async def fill(served: Served, until: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not until():
            served.inbox.item(template_id=None, content=Content("t", "x" * 200_000))
            served.tell()
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", ["/stream", "/ws"])
async def test_a_slow_reader_is_dropped(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_stream, "_SLOW_S", 0.2)
    async with serving() as served, reading_nothing(served, path):
        await fill(served, lambda: served.live.streams.ended["slow"] > 0)
        async with asyncio.timeout(60):
            await served.connections.gone()
        assert served.live.streams.open == 0


@pytest.mark.parametrize("path", ["/stream", "/ws"])
async def test_a_gateway_that_stops_waits_for_no_slow_reader(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_stream, "_SLOW_S", 3600.0)
    async with serving() as served, reading_nothing(served, path):
        await fill(served, served.connections.blocked)
        served.live.streams.stop()
        async with asyncio.timeout(60):
            await served.connections.gone()
        assert served.live.streams.ended["stopping"] == 1


# --- browsers


async def test_an_allowed_origin_is_named_before_the_stream_begins() -> None:
    async with serving() as served, served.get(Origin="https://app.example") as response:
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://app.example", 101), ("https://evil.example", 403), ("null", 403), ("http://[", 403)],
)
async def test_a_page_of_another_origin_opens_no_websocket(origin: str, status: int) -> None:
    async with serving() as served:
        url, given = f"{served.url}{PATH}/ws", bearer(user_token("u1")) | {"Origin": origin}
        if status == 101:
            async with served.session.ws_connect(url, headers=given):
                return
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await served.session.ws_connect(url, headers=given)
        assert refused.value.status == status


async def test_what_is_no_handshake_is_refused() -> None:
    async with serving() as served, served.get("/ws") as response:
        assert (response.status, (await response.json())["field"]) == (400, "Upgrade")


async def test_a_client_that_talks_too_much_is_left() -> None:
    async with serving() as served:
        url, token = f"{served.url}{PATH}/ws", bearer(user_token("u1"))
        async with served.session.ws_connect(url, headers=token) as ws:
            for _ in range(inbox_stream._MOST_MESSAGES + 2):
                await ws.send_str("x")
            async with asyncio.timeout(60):
                while (await ws.receive()).type is aiohttp.WSMsgType.TEXT:
                    pass
                while served.live.streams.ended["gone"] != 1:
                    await asyncio.sleep(0.01)
