"""A live inbox: its events whatever pieces they come in, and each once though the stream breaks off."""

import asyncio
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from tocsin.client import AsyncTocsin, BadAnswer, Forbidden, Retrying, Tocsin, Unreachable
from tocsin.client.answers import StreamEvent
from tocsin.client.calls import Following
from tocsin.client.streaming import MOST_BYTES, Follower

EVENTS = [StreamEvent(id=str(number), event="update", data=f'{{"n": {number}, "é": "–"}}') for number in range(1, 7)]
AT_ONCE = Retrying(attempts=3, pause_s=lambda attempts: 0.0)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def written(event: StreamEvent) -> bytes:
    return f"id: {event.id}\nevent: {event.event}\ndata: {event.data}\n\n".encode()


def follower(after: str | None = None) -> Follower:
    return Follower(Following("/", after), AT_ONCE)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_events_are_the_same_whatever_pieces_they_come_in(seed: int, ending: bytes) -> None:
    chance, whole = random.Random(seed), b"retry: 1\n\n:\n\n" + b":\n\n".join(map(written, EVENTS))
    octets, following, found = whole.replace(b"\n", ending), follower(), list[StreamEvent]()
    while octets:
        length = chance.randint(1, 30)
        found += following.take(octets[:length])
        octets = octets[length:]

    assert found == EVENTS
    assert following.headers["Last-Event-ID"] == "6"


def test_half_an_event_is_not_carried_into_the_next_stream() -> None:
    following = follower("4")
    assert following.take(written(EVENTS[4])[:-1]) == []

    assert following.headers["Last-Event-ID"] == "4"
    assert following.take(b"\n" + written(EVENTS[4])) == [EVENTS[4]]


@pytest.mark.parametrize("octets", [b"data: \xff\n\n", b"x" * (MOST_BYTES + 1)])
def test_what_is_no_stream_of_events_is_refused(octets: bytes) -> None:
    with pytest.raises(BadAnswer):
        follower().take(octets)


def test_only_failures_in_a_row_end_it() -> None:
    following = follower()
    for _ in range(5):
        following.failed()
        following.failed()
        following.take(b":\n\n")
    following.failed()
    following.failed()

    with pytest.raises(Unreachable):
        following.failed(httpx.ReadError("gone"))


@contextmanager
def a_gateway_that_breaks_off() -> Iterator[str]:
    """Two events a stream, and a half of the next; when all were given, 403."""
    server = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with suppress(OSError):
            while True:
                peer, _ = server.accept()
                with peer:
                    asked = peer.recv(65_536).lower()
                    after = int(asked.partition(b"last-event-id: ")[2].partition(b"\r")[0] or 0)
                    left = EVENTS[after:]
                    if left:
                        peer.sendall(HEAD + b"".join(map(written, left[:2])) + b"id: 99\nevent: upd")
                    else:
                        peer.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    threading.Thread(target=run, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_a_stream_that_breaks_off_is_taken_up_where_it_was() -> None:
    found = list[StreamEvent]()

    def follow(tocsin: Tocsin) -> None:
        for event in tocsin.users.inbox_stream("ann"):
            found.append(event)

    with a_gateway_that_breaks_off() as url, Tocsin(url, "token", retrying=AT_ONCE) as tocsin, pytest.raises(Forbidden):
        follow(tocsin)

    assert found == EVENTS


async def test_it_is_awaited_the_same_way() -> None:
    found = list[StreamEvent]()

    async def follow(tocsin: AsyncTocsin) -> None:
        async for event in tocsin.users.inbox_stream("ann", last_event_id="1"):
            found.append(event)

    with a_gateway_that_breaks_off() as url, pytest.raises(Forbidden):
        async with AsyncTocsin(url, "token", retrying=AT_ONCE) as tocsin, asyncio.timeout(60):
            await follow(tocsin)

    assert found == EVENTS[1:]
