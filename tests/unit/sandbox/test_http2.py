"""HTTP/2 against an independent peer's state machine: flow control both ways, and clients that leave."""

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from app.sandbox.exchange import Caller, Reply, Request
from app.sandbox.http2 import MAX_STREAMS, Http2
from tests.conftest import eventually


class Wire(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = self.is_aborted = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True


class Peer:
    """A client on the other end of the wire. ``acknowledges``: whether it opens the window again as it reads."""

    def __init__(self, *, acknowledges: bool = True) -> None:
        self.taken: list[tuple[Request, Caller]] = []
        self.wire = Wire()
        self.server = Http2(lambda request, caller: self.taken.append((request, caller)))
        self.conn = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.statuses: dict[int, str] = {}
        self.bodies: dict[int, bytes] = defaultdict(bytes)
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.goodbye: ConnectionTerminated | None = None
        self._acknowledges = acknowledges
        self.conn.initiate_connection()
        self.server.connection_made(self.wire)

    async def exchange(self) -> None:
        """Carries bytes both ways until both are silent."""
        await asyncio.sleep(0)  # replies of one tick leave at its end
        while (out := self.conn.data_to_send()) or self.wire.written:
            if out:
                self.server.data_received(out)
                await asyncio.sleep(0)
            read, self.wire.written = self.wire.written, b""
            for event in self.conn.receive_data(read):
                if isinstance(event, ResponseReceived):
                    self.statuses[event.stream_id] = dict(event.headers)[":status"]
                elif isinstance(event, DataReceived):
                    self.bodies[event.stream_id] += event.data
                    if self._acknowledges:
                        self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    self.ended.add(event.stream_id)
                elif isinstance(event, StreamReset):
                    self.resets[event.stream_id] = int(event.error_code)
                elif isinstance(event, ConnectionTerminated):
                    self.goodbye = event

    async def ask(self, body: bytes = b"") -> int:
        stream_id: int = self.conn.get_next_available_stream_id()
        headers = [(":method", "POST"), (":scheme", "https"), (":path", "/3/device/ab?x=1"), (":authority", "host")]
        self.conn.send_headers(stream_id, [*headers, ("apns-id", str(stream_id))], end_stream=not body)
        while body:
            part, body = body[:16384], body[16384:]
            self.conn.send_data(stream_id, part, end_stream=not body)
            await self.exchange()
        await self.exchange()
        return stream_id


async def test_a_request_arrives_whole() -> None:
    peer = Peer()
    await peer.ask(b"x" * 40_000)

    (request, _), *_ = peer.taken
    assert (request.method, request.path, request.query, request.authority) == ("POST", "/3/device/ab", "x=1", "host")
    assert (request.header("apns-id"), len(request.body)) == ("1", 40_000)


async def test_a_thousand_streams_are_offered() -> None:
    peer = Peer()
    await peer.exchange()

    assert peer.conn.remote_settings.max_concurrent_streams == MAX_STREAMS == 1000


async def test_thousands_of_requests_never_exhaust_the_windows() -> None:
    peer = Peer()
    for _ in range(3000):
        stream_id = await peer.ask(b"x" * 4096)
        peer.taken.pop()[1].reply(Reply(410, b'{"reason":"Unregistered","timestamp":1795000000000}'))
        await peer.exchange()
        assert stream_id in peer.ended

    assert peer.goodbye is None


async def test_a_body_waits_until_the_client_makes_room() -> None:
    peer = Peer(acknowledges=False)
    first, second = await peer.ask(), await peer.ask()
    for _, caller in peer.taken:
        caller.reply(Reply(200, b"y" * 50_000))
    await peer.exchange()

    assert (len(peer.bodies[first]), len(peer.bodies[second])) == (50_000, 15_535)

    peer.conn.increment_flow_control_window(100_000)
    await peer.exchange()

    assert len(peer.bodies[second]) == 50_000
    assert peer.ended == {first, second}


async def test_a_larger_initial_window_lets_a_waiting_body_out() -> None:
    peer = Peer(acknowledges=False)
    peer.conn.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
    await peer.exchange()
    stream_id = await peer.ask()
    peer.taken[0][1].reply(Reply(200, b"y" * 100))
    await peer.exchange()
    assert len(peer.bodies[stream_id]) == 10

    peer.conn.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1000})
    await peer.exchange()

    assert (len(peer.bodies[stream_id]), peer.ended) == (100, {stream_id})


async def test_answers_may_come_in_any_order() -> None:
    peer = Peer()
    first, second = await peer.ask(), await peer.ask()
    peer.taken[1][1].reply(Reply(200))
    peer.taken[0][1].reply(Reply(503))
    await peer.exchange()

    assert peer.statuses == {first: "503", second: "200"}


async def test_an_answer_to_a_cancelled_request_is_dropped_and_the_connection_goes_on() -> None:
    peer = Peer()
    gone = await peer.ask()
    peer.conn.reset_stream(gone, ErrorCodes.CANCEL)
    await peer.exchange()
    peer.taken[0][1].reply(Reply(200, b"late"))
    await peer.exchange()

    stays = await peer.ask()
    peer.taken[1][1].reply(Reply(200))
    await peer.exchange()

    assert peer.statuses == {stays: "200"}
    assert peer.goodbye is None


@pytest.mark.parametrize(("refused", "code"), [(True, ErrorCodes.REFUSED_STREAM), (False, ErrorCodes.INTERNAL_ERROR)])
async def test_a_stream_is_reset_alone_and_says_whether_it_was_looked_at(refused: bool, code: int) -> None:
    peer = Peer()
    gone, stays = await peer.ask(), await peer.ask()
    peer.taken[0][1].reset_stream(refused=refused)
    peer.taken[1][1].reply(Reply(200))
    await peer.exchange()

    assert peer.resets == {gone: code}
    assert peer.statuses == {stays: "200"}


async def test_after_a_goaway_what_came_before_is_answered_and_what_comes_is_not_looked_at() -> None:
    peer = Peer()
    first, second = await peer.ask(), await peer.ask()
    peer.taken[1][1].say_goaway()
    # The client has written one more before it reads the goodbye.
    peer.conn.send_headers(
        peer.conn.get_next_available_stream_id(),
        [(":method", "POST"), (":scheme", "https"), (":path", "/late"), (":authority", "host")],
        end_stream=True,
    )
    peer.server.data_received(peer.conn.data_to_send())
    for _, caller in peer.taken:
        caller.reply(Reply(200))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    said = peer.wire.written

    # (h2's client takes a connection for closed at the goodbye, so the frames are looked at by themselves)
    assert len(peer.taken) == 2
    assert goaway_in(said) == second
    assert answered_in(said) == [first, second]
    assert peer.wire.is_closed


def frames(data: bytes) -> list[tuple[int, int, bytes]]:
    """(type, stream, payload) of each frame."""
    found = []
    while data:
        size = int.from_bytes(data[:3])
        found.append((data[3], int.from_bytes(data[5:9]), data[9 : 9 + size]))
        data = data[9 + size :]
    return found


def goaway_in(data: bytes) -> int:
    return next(int.from_bytes(payload[:4]) for kind, _, payload in frames(data) if kind == 7)


def answered_in(data: bytes) -> list[int]:
    return [stream_id for kind, stream_id, _ in frames(data) if kind == 1]


async def test_fewer_streams_are_offered_when_told_to() -> None:
    peer = Peer()
    await peer.ask()
    peer.taken[0][1].limit_streams(1)
    await peer.exchange()

    assert peer.conn.remote_settings.max_concurrent_streams == 1


async def test_a_slow_answer_comes_drop_by_drop_and_whole() -> None:
    peer = Peer()
    stream_id = await peer.ask()
    peer.taken[0][1].reply(Reply(200, b"y" * 30, bytes_per_s=100))
    await peer.exchange()
    assert (peer.statuses[stream_id], peer.bodies[stream_id]) == ("200", b"")

    async def is_whole() -> bool:
        await peer.exchange()
        return stream_id in peer.ended

    await eventually(is_whole)

    assert peer.bodies[stream_id] == b"y" * 30


async def test_a_doomed_connection_tells_how_many_answers_go_with_it_and_takes_no_more() -> None:
    peer = Peer()
    for _ in range(3):
        await peer.ask()
    peer.taken[0][1].reply(Reply(200))
    await peer.exchange()

    assert peer.taken[1][1].doom() == 1
    await peer.ask()
    assert len(peer.taken) == 3


async def test_a_reset_aborts_the_connection() -> None:
    peer = Peer()
    await peer.ask()
    peer.taken[0][1].reset()

    assert peer.wire.is_aborted


async def test_what_breaks_the_protocol_is_answered_by_goaway_and_a_close() -> None:
    peer = Peer()
    await peer.exchange()
    peer.server.data_received(bytes.fromhex("000001 00 00 00000009 00"))  # DATA on a stream that was never opened
    await peer.exchange()

    assert peer.goodbye is not None
    assert peer.wire.is_closed


async def test_a_header_that_is_no_utf8_breaks_the_protocol() -> None:
    peer = Peer()
    await peer.exchange()
    headers = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"host")]
    peer.conn.send_headers(1, [*headers, (b"apns-topic", b"\xff\xfe")], end_stream=True)
    await peer.exchange()

    assert peer.goodbye is not None
    assert peer.taken == []


async def test_what_is_no_http2_is_closed() -> None:
    peer = Peer()
    peer.server.data_received(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")

    assert peer.wire.is_closed


async def test_goodbye_names_the_last_request_seen() -> None:
    peer = Peer()
    await peer.ask()
    last = await peer.ask()
    peer.server.say_goodbye()
    await peer.exchange()

    assert peer.goodbye is not None
    assert peer.goodbye.last_stream_id == last
    assert peer.wire.is_closed


@pytest.mark.parametrize("status", [200, 410])
async def test_an_answer_after_the_connection_is_gone_is_harmless(status: int) -> None:
    peer = Peer()
    await peer.ask()
    peer.server.connection_lost(None)
    written = peer.wire.written
    peer.taken[0][1].reply(Reply(status, b"{}"))

    assert peer.wire.written == written
