"""What a server may do to a client over the wire: none of it lasts longer than its limit, or is taken for an answer."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from tocsin.client import AsyncTocsin, Retrying, Tocsin, TocsinError, Unreachable

#: One attempt, which ends long before the test's own limit.
BRIEF = Retrying(attempts=1, total_s=0.5, timeout_s=0.5)
LIMIT_S = 60.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def silent(peer: socket.socket, over: threading.Event) -> None:
    over.wait(LIMIT_S)


def dribbling(peer: socket.socket, over: threading.Event) -> None:
    """A byte now and then: no read ever times out."""
    peer.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
    while not over.wait(0.05):
        peer.sendall(b" ")


def dribbling_head(peer: socket.socket, over: threading.Event) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\n")
    while not over.wait(0.05):
        peer.sendall(b"X: y\r\n")


def cut_off(peer: socket.socket, over: threading.Event) -> None:
    peer.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")


def hanging_up(peer: socket.socket, over: threading.Event) -> None:
    return


def babbling(peer: socket.socket, over: threading.Event) -> None:
    peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def endless(peer: socket.socket, over: threading.Event) -> None:
    peer.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while not over.is_set():
        peer.sendall(b"10000\r\n" + b" " * 65_536 + b"\r\n")


#: Of `dribbling_head` the blocking client says in its page that only the size of a head limits it.
SERVERS = (silent, dribbling, dribbling_head, cut_off, hanging_up, babbling, endless)


@contextmanager
def listening(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    over = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with suppress(OSError):
            while True:
                peer, _ = server.accept()
                with peer, suppress(OSError):
                    peer.recv(65_536)
                    serve(peer, over)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        over.set()
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(LIMIT_S)


@pytest.mark.parametrize("serve", [each for each in SERVERS if each is not dribbling_head])
def test_a_call_ends_in_time_whatever_the_server_does(serve: Callable[..., None]) -> None:
    with listening(serve) as url, httpx.Client(verify=False) as http:
        began = time.monotonic()
        with pytest.raises(Unreachable) as ended:
            Tocsin(url, "key", http=http, retrying=BRIEF).policy.get()

    assert ended.value.is_in_doubt
    assert time.monotonic() - began < LIMIT_S


@pytest.mark.parametrize("serve", SERVERS)
async def test_an_awaited_call_ends_in_time_whatever_the_server_does(serve: Callable[..., None]) -> None:
    with listening(serve) as url:
        async with asyncio.timeout(LIMIT_S), httpx.AsyncClient(verify=False) as http:
            with pytest.raises(Unreachable):
                await AsyncTocsin(url, "key", http=http, retrying=BRIEF).policy.get()


def test_nobody_there_is_not_in_doubt() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with httpx.Client(verify=False) as http, pytest.raises(TocsinError, match="was not taken"):
        Tocsin(f"http://127.0.0.1:{port}", "key", http=http, retrying=BRIEF).policy.get()
