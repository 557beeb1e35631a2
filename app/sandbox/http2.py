"""HTTP/2 as a server speaks it: many requests at once on a connection, within both sides' flow control."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from app.sandbox.exchange import DROP_S, Caller, Reply, Request, drops

Take = Callable[[Request, Caller], None]

MAX_STREAMS = 1000
#: So much of a body is kept; what is longer is longer than any provider takes.
MAX_BODY = 1 << 20
_CONNECTION_WINDOW = 1 << 24


@dataclass(slots=True)
class _Incoming:
    pseudo: dict[str, str]
    headers: tuple[tuple[str, str], ...]
    body: bytearray = field(default_factory=bytearray)


class Http2(asyncio.Protocol):
    """One connection. Each complete request goes to ``take``; replies may come in any order, or never."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._conn = H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._conn.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                SettingCodes.INITIAL_WINDOW_SIZE: 65_535,
                SettingCodes.ENABLE_PUSH: 0,
            },
        )
        self._transport: asyncio.Transport | None = None
        self._incoming: dict[int, _Incoming] = {}
        #: What the peer's flow control doesn't let out yet, by stream.
        self._held_back: dict[int, bytes] = {}
        #: Requests that were taken and whose answers aren't written yet.
        self._owed: set[int] = set()
        self._last_taken = 0
        #: After a goodbye, or before a reset, no stream after this one is looked at.
        self._last_ever: int | None = None
        self._flush_scheduled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._conn.initiate_connection()
        self._conn.increment_flow_control_window(_CONNECTION_WINDOW)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._incoming.clear()
        self._held_back.clear()
        self._owed.clear()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._conn.receive_data(data):
                self._on(event)
        except ProtocolError:  # h2 has prepared the GOAWAY that says so
            self._flush()
            self.close()
        except UnicodeDecodeError:  # in a header: h2 leaves it to us
            self.say_goodbye(ErrorCodes.PROTOCOL_ERROR)
        else:
            self._flush()

    def _on(self, event: Any) -> None:
        if isinstance(event, DataReceived):
            self._conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            incoming = self._incoming.get(event.stream_id)
            if incoming is not None and len(incoming.body) <= MAX_BODY:
                incoming.body += event.data
        elif isinstance(event, RequestReceived):
            pseudo = {name: value for name, value in event.headers if name[0] == ":"}
            headers = tuple((name, value) for name, value in event.headers if name[0] != ":")
            self._incoming[event.stream_id] = _Incoming(pseudo, headers)
        elif isinstance(event, StreamEnded):
            incoming = self._incoming.pop(event.stream_id, None)
            if incoming is not None and (self._last_ever is None or event.stream_id <= self._last_ever):
                self._owed.add(event.stream_id)
                self._last_taken = max(self._last_taken, event.stream_id)
                self._take(_request(incoming), _Stream(self, event.stream_id))
        elif isinstance(event, StreamReset):
            self._incoming.pop(event.stream_id, None)
            self._over(event.stream_id)
        elif isinstance(event, WindowUpdated | RemoteSettingsChanged):
            for stream_id in tuple(self._held_back):
                self._send_body(stream_id, self._held_back.pop(stream_id))
                if stream_id not in self._held_back:
                    self._over(stream_id)
        elif isinstance(event, ConnectionTerminated):
            self.close()

    def reply(self, stream_id: int, reply: Reply) -> None:
        if self._transport is None or stream_id not in self._owed:
            return
        headers = [(":status", str(reply.status)), *reply.headers.items()]
        if reply.body:
            headers.append(("content-length", str(len(reply.body))))
        try:
            self._conn.send_headers(stream_id, headers, end_stream=not reply.body)
        except (StreamClosedError, ProtocolError):  # the client has cancelled the stream, or left
            self._over(stream_id)
            return
        if reply.body and reply.bytes_per_s is not None:
            self._drip(stream_id, list(drops(reply.body, reply.bytes_per_s)))
        else:
            self._say(stream_id, reply.body)

    def _drip(self, stream_id: int, pieces: list[bytes]) -> None:
        """Says the first piece after a while, and then the rest."""
        self._flush_soon()

        def go_on() -> None:
            if stream_id in self._owed and self._transport is not None:
                self._say(stream_id, pieces[0], end=len(pieces) == 1)
                if pieces[1:]:
                    self._drip(stream_id, pieces[1:])

        asyncio.get_running_loop().call_later(DROP_S, go_on)

    def _say(self, stream_id: int, body: bytes, *, end: bool = True) -> None:
        """A body, or a part of one."""
        try:
            if not end:
                self._conn.send_data(stream_id, body)
            elif body:
                self._send_body(stream_id, body)
        except (StreamClosedError, ProtocolError):
            self._over(stream_id)
            return
        if end and stream_id not in self._held_back:
            self._over(stream_id)
        self._flush_soon()

    def _over(self, stream_id: int) -> None:
        """Nothing more is owed to this stream."""
        self._held_back.pop(stream_id, None)
        self._owed.discard(stream_id)
        if self._last_ever is not None and not self._owed:
            asyncio.get_running_loop().call_soon(self._leave)

    def _leave(self) -> None:
        """Everything is said after a goodbye."""
        self._flush()
        self.close()

    def doom(self, stream_id: int) -> int:
        """See ``Caller.doom``."""
        self._last_ever = 0
        return len(self._owed - {stream_id})

    def reset_stream(self, stream_id: int, error: ErrorCodes) -> None:
        with suppress(StreamClosedError, ProtocolError):
            self._conn.reset_stream(stream_id, error)
        self._over(stream_id)
        self._flush_soon()

    def say_goaway(self) -> None:
        """Names the last stream that was looked at; those after it are ignored, those before it answered.

        h2 would take the connection for closed if it were asked to say so.
        """
        self._last_ever = self._last_taken
        self._flush()
        if self._transport is not None:
            self._transport.write(GoAwayFrame(0, last_stream_id=self._last_taken).serialize())

    def limit_streams(self, count: int) -> None:
        self._conn.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: count})
        self._flush_soon()

    def _send_body(self, stream_id: int, body: bytes) -> None:
        room = min(self._conn.local_flow_control_window(stream_id), self._conn.max_outbound_frame_size)
        while body and room > 0:
            part, body = body[:room], body[room:]
            self._conn.send_data(stream_id, part, end_stream=not body)
            room = min(self._conn.local_flow_control_window(stream_id), self._conn.max_outbound_frame_size)
        if body:
            self._held_back[stream_id] = body

    def abort(self) -> None:
        """Without a word; what was said before is let out."""
        self._flush()
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def say_goodbye(self, error: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """GOAWAY, then close: what is unanswered stays so."""
        if self._transport is not None:
            try:
                self._conn.close_connection(error)
                self._flush()
            finally:
                self.close()

    def _flush_soon(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        data = self._conn.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)


class _Stream:
    """The caller of one stream."""

    __slots__ = ("_connection", "_id")

    def __init__(self, connection: Http2, stream_id: int) -> None:
        self._connection = connection
        self._id = stream_id

    def reply(self, reply: Reply) -> None:
        self._connection.reply(self._id, reply)

    def reset(self) -> None:
        self._connection.abort()

    def doom(self) -> int:
        return self._connection.doom(self._id)

    def reset_stream(self, *, refused: bool) -> None:
        self._connection.reset_stream(self._id, ErrorCodes.REFUSED_STREAM if refused else ErrorCodes.INTERNAL_ERROR)

    def say_goaway(self) -> None:
        self._connection.say_goaway()

    def limit_streams(self, count: int) -> None:
        self._connection.limit_streams(count)


def _request(incoming: _Incoming) -> Request:
    path, _, query = incoming.pseudo.get(":path", "").partition("?")
    return Request(
        incoming.pseudo[":method"],
        path,
        query,
        incoming.headers,
        bytes(incoming.body),
        incoming.pseudo.get(":authority", ""),
    )
