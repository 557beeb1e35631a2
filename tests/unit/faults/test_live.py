"""LIVE, judged by what a gateway says that does it right, or in one of the ways in which live inboxes go wrong."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from faults.live import LiveClient, following
from tests.conftest import eventually

Event = tuple[int, str, dict[str, Any]]

_OLD, _NEW = {"id": "old", "read": False}, {"id": "new", "read": False}
_START: Event = (1, "count", {"unread": 1})
#: The item "new" comes, then everything is read.
_RIGHT: list[Event] = [
    (2, "notification", _NEW),
    (2, "count", {"unread": 2}),
    (3, "update", {"all": True, "read": True}),
    (3, "count", {"unread": 0}),
]


class Gateway:
    """Says these events, each stream the next of them, then nothing more. Its inbox is as the right ones make it."""

    def __init__(self, *streams: Sequence[Event]) -> None:
        self.asked: list[str] = []
        self._streams = list(streams)

    async def page(self, request: web.Request) -> web.Response:
        items = [_OLD] if not self.asked else [{**_NEW, "read": True}, {**_OLD, "read": True}]
        return web.json_response({"notifications": items, "last_event_id": "1"})

    async def count(self, request: web.Request) -> web.Response:
        return web.json_response({"unread": 0})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.query["last_event_id"])
        response = web.StreamResponse()
        await response.prepare(request)
        if not self._streams:
            await asyncio.Event().wait()
        for event_id, event, data in self._streams.pop(0):
            await response.write(f"id: {event_id}\nevent: {event}\ndata: {json.dumps(data)}\n\n".encode())
        return response


@asynccontextmanager
async def following_one(gateway: Gateway) -> AsyncIterator[LiveClient]:
    """A client that has taken all that the gateway says."""
    app = web.Application()
    app.router.add_get("/v1/users/u1/inbox", gateway.page)
    app.router.add_get("/v1/users/u1/inbox/count", gateway.count)
    app.router.add_get("/v1/users/u1/inbox/stream", gateway.stream)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    expected = 1 + len(gateway._streams)

    async def has_asked_for_more() -> bool:
        return len(gateway.asked) >= expected

    try:
        async with aiohttp.ClientSession() as http:
            client = LiveClient(http, [f"http://{host}:{port}"], "u1", "token")
            async with following(client):
                await eventually(has_asked_for_more)
                yield client
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "streams",
    [
        ([_START, *_RIGHT],),
        ([_START, *_RIGHT[:1]], [(2, "count", {"unread": 2}), *_RIGHT[2:]]),
        ([_START, *_RIGHT[:2]], [(2, "count", {"unread": 2}), *_RIGHT[2:]]),
    ],
)
async def test_what_is_said_once_and_in_order_is_right_wherever_a_stream_breaks_off(
    streams: Sequence[Sequence[Event]],
) -> None:
    async with following_one(Gateway(*streams)) as client:
        assert client.wrong == []
        assert await client.agrees(2)


@pytest.mark.parametrize(
    ("streams", "why"),
    [
        (([_RIGHT[0], *_RIGHT],), "a stream begins with notification"),
        (([_START, *_RIGHT, *_RIGHT[2:]],), "update 3 comes twice"),
        (([_START, *_RIGHT[2:], *_RIGHT[:2]],), "2 comes after 3"),
        (([_START, *_RIGHT[:2]], [(2, "count", {"unread": 2}), *_RIGHT]), "item new comes twice"),
        (([_START, *_RIGHT], [(4, "count", {"unread": 0}), (4, "reset", {})]), "reset though nothing was lost"),
    ],
)
async def test_what_comes_twice_out_of_order_or_for_nothing_is_reported(
    streams: Sequence[Sequence[Event]], why: str
) -> None:
    async with following_one(Gateway(*streams)) as client:
        assert why in client.wrong


@pytest.mark.parametrize("left_out", range(len(_RIGHT)))
async def test_a_client_that_was_not_told_something_does_not_agree(left_out: int) -> None:
    heard = [event for n, event in enumerate(_RIGHT) if n != left_out]
    async with following_one(Gateway([_START, *heard])) as client:
        # The count of a change is made good by the next one.
        assert await client.agrees(2) is (left_out == 1)


async def test_a_client_comes_back_with_the_last_id_that_it_has_taken() -> None:
    gateway = Gateway([_START, *_RIGHT[:1]], [(2, "count", {"unread": 2})])
    async with following_one(gateway):
        assert gateway.asked == ["1", "2", "2"]
