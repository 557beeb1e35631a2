"""A live inbox through the real log: two gateways, the in_app role, and what clients see while that is killed."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from app.config import Settings
from tests.conftest import eventually
from tests.integration.gateway.conftest import Caller, Workers, served

#: What an app waits before it comes back.
_RETRY_S = 0.1


@pytest.fixture
async def other(environ: dict[str, str], workers: Workers) -> AsyncIterator[Caller]:
    """A second gateway of the installation."""
    async with _one_more(environ, "2") as url, aiohttp.ClientSession() as session:
        yield Caller(session, url)


def _one_more(environ: dict[str, str], instance: str) -> AbstractAsyncContextManager[str]:
    return served(Settings.load(environ | {"TOCSIN_INSTANCE": instance}))


class Client:
    """An app: the page, then what streams say; it comes back whenever its stream ends."""

    def __init__(self, gateways: list[Caller], user_id: str) -> None:
        self.items: list[dict[str, Any]] = []
        self.counts: dict[str, int] = {}
        self.told: list[tuple[str, str, str]] = []
        self.last_id = "0"
        self._gateways = [gateway.user(user_id) for gateway in gateways]
        self._path = f"/v1/users/{user_id}/inbox"

    async def follow(self) -> None:
        page = (await self._gateways[0]("GET", self._path)).document
        self.items, self.last_id = page["notifications"], page["last_event_id"]
        turn = 0
        while True:
            gateway = self._gateways[turn % len(self._gateways)]
            url, turn = f"{gateway.url}{self._path}/stream?last_event_id={self.last_id}", turn + 1
            try:
                async with gateway.session.get(url, headers=gateway.headers, timeout=_FOREVER) as response:
                    while response.status == 200 and (block := await response.content.readuntil(b"\n\n")):
                        self._take(block)
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(_RETRY_S)

    def _take(self, block: bytes) -> None:
        assert block.endswith(b"\n\n"), "a stream breaks off between two events"
        lines = block.decode().strip().splitlines()
        fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
        if "event" not in fields:
            return
        event, data = fields["event"], json.loads(fields["data"])
        assert event != "reset", (fields, self.last_id)
        assert int(fields["id"]) >= int(self.last_id), (fields, self.last_id)
        self.last_id = fields["id"]
        self.told.append((fields["id"], event, fields["data"]))
        if event == "count":
            self.counts = data
        elif event == "notification":
            assert data["id"] not in [item["id"] for item in self.items], fields
            self.items.insert(0, data)
        elif "all" in data:
            self.items = [item | {name: mark for name, mark in data.items() if name != "all"} for item in self.items]
        else:
            self.items = [item | data if item["id"] == data["id"] else item for item in self.items]


_FOREVER = aiohttp.ClientTimeout(total=None, sock_connect=5)


@asynccontextmanager
async def following(*clients: Client) -> AsyncIterator[None]:
    """Fails as a client does that is told what can't be."""
    tasks = [asyncio.create_task(client.follow()) for client in clients]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(ended, asyncio.CancelledError):
                raise ended if isinstance(ended, BaseException) else AssertionError("a client has ended")


async def test_what_clients_saw_is_the_inbox_though_its_owner_was_killed(
    environ: dict[str, str], gateway: Caller, other: Caller, workers: Workers
) -> None:
    """And though a gateway stopped whose client went on at another."""
    user = gateway.user("lively")
    path = "/v1/users/lively/inbox"

    numbers = itertools.count()  # (the same content twice is one notification)

    async def send(count: int) -> None:
        for number in itertools.islice(numbers, count):
            request: dict[str, Any] = {"user_id": "lively", "event_type": "note.made", "channels": ["in_app"]}
            request |= {"content": {"title": f"No. {number}", "body": "b"}}
            reply = await gateway.key("shop")("POST", "/v1/notifications", request)
            assert reply.status == 202

    async def agree(count: int) -> bool:
        read, counted = await user("GET", f"{path}?limit=100"), await user("GET", f"{path}/count")
        if (read.status, counted.status) != (200, 200):
            return False  # nobody owns the inbox just now
        page, counts = read.document, counted.document
        return len(page["notifications"]) == count and all(
            client.items == page["notifications"] and client.counts == counts for client in clients
        )

    third = AsyncExitStack()
    stopping = Caller(other.session, await third.enter_async_context(_one_more(environ, "3")))
    clients = [Client([one, gateway], "lively") for one in (gateway, other, stopping)]
    async with third, following(*clients):
        await send(5)
        await eventually(lambda: agree(5), 60)
        newest = clients[0].items[0]["id"]
        assert (await user("POST", f"{path}/{newest}/read")).status == 204
        await third.aclose()
        await send(3)
        await workers.kill("in_app")
        await send(3)
        await workers.start("in_app")
        await eventually(lambda: agree(11), 120)
        assert (await user("POST", f"{path}/read-all")).status == 204
        await eventually(lambda: agree(11), 60)

    for client in clients:
        notified = [data for _, event, data in client.told if event == "notification"]
        assert len(notified) == len(set(notified)) == 11
    by_id = [{(name, event): data for name, event, data in client.told} for client in clients]
    for key in by_id[0].keys() & by_id[1].keys():
        assert by_id[0][key] == by_id[1][key]


async def test_a_ticket_is_good_for_one_stream_whichever_gateway_sees_it(gateway: Caller, other: Caller) -> None:
    path = "/v1/users/ticketed/inbox"
    made = await gateway.user("ticketed")("POST", f"{path}/ticket")
    ticket = made.document["ticket"]
    both = [gateway.session.get(f"{one.url}{path}/stream?ticket={ticket}") for one in (gateway, other)]
    responses = await asyncio.gather(*both)
    assert sorted(response.status for response in responses) == [200, 401]
    again = await other("GET", f"{path}/stream?ticket={ticket}")
    assert (made.status, again.status) == (200, 401)
    for response in responses:
        response.close()


async def test_a_users_own_history_says_what_became_of_what(gateway: Caller, other: Caller) -> None:
    request: dict[str, Any] = {"user_id": "hist", "event_type": "note.made", "channels": ["in_app"]}
    request["content"] = {"title": "Hello", "body": "b"}
    sent = await gateway.key("shop")("POST", "/v1/notifications", request)
    path = "/v1/users/hist/notifications"

    async def is_told() -> bool:
        found = (await other.user("hist")("GET", path)).document["notifications"]
        return [(each["notification_id"], each["channel"], each["status"]) for each in found] == [
            (sent.document["notification_id"], "in_app", "sent")
        ]

    await eventually(is_told, 30)
    assert (await gateway.key("ops")("GET", path)).status == 200
    assert (await gateway.user("ada")("GET", path)).status == 403
    summary = (await gateway.user("hist")("GET", "/v1/users/hist/inbox/summary")).document
    assert (summary["badge"], summary["total"]) == (1, 1)
