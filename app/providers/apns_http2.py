"""One HTTP/2 connection to APNs: aioapns' protocol class, with no way left to lose an answer, to send twice, or to
wait for ever."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aioapns.connection import APNsTLSClientProtocol
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import H2Error
from hpack import Encoder

log = logging.getLogger(__name__)

#: Streams we open at most on one connection, whatever the server would allow.
MAX_STREAMS = 1000
#: Seconds a connection that takes no new streams may still finish its old ones.
DRAIN_S = 10.0
#: Seconds of silence after which a connection is asked whether it is alive, and seconds it has to answer.
IDLE_S, PONG_S = 3600.0, 10.0
#: Bytes kept of an answer's body (a refusal is a line of JSON).
MAX_BODY = 16_384


@dataclass(frozen=True, slots=True)
class Reply:
    """The server's answer to one request, and the connection that it came by."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    by: "Connection | None" = None


@dataclass(frozen=True, slots=True)
class NotSent:
    """Certainly not processed."""

    why: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Sent, and no answer will come."""

    doubt: Literal["timeout", "connection_lost"]


Answer = Reply | NotSent | Lost


@dataclass(slots=True, eq=False)
class Request:
    """One request, from the queue to its answer. ``answer`` is resolved exactly once."""

    headers: Sequence[tuple[str, str]]
    body: bytes
    answer: asyncio.Future[Answer]
    connection: "Connection | None" = None
    stream_id: int = 0
    written_at: float = 0.0
    reply_headers: dict[bytes, bytes] = field(default_factory=dict)
    reply_body: bytearray = field(default_factory=bytearray)

    def resolve(self, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


class _PlainEncoder(Encoder):
    """Huffman's code saves a few bytes of a request and, in Python, takes a fifth of the time of writing it."""

    def encode(self, headers: Any, huffman: bool = False) -> bytes:
        return bytes(super().encode(headers, huffman=False))


class _Http2(H2Connection):  # type: ignore[misc]  # h2 is not followed by mypy here
    """h2 calls a connection closed once it has read GOAWAY; the streams that the server still answers need it open.

    Our own headers need no check, and took longer with one (apns.py makes each of its own choosing).
    """

    def __init__(self) -> None:
        super().__init__(H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False))
        self.encoder = _PlainEncoder()

    def _receive_goaway_frame(self, frame: Any) -> Any:
        state = self.state_machine.state
        received = super()._receive_goaway_frame(frame)
        self.state_machine.state = state
        return received


class Connection(APNsTLSClientProtocol):  # type: ignore[misc]  # aioapns is not followed by mypy here
    """Answers each request exactly once, by stream: Reply, NotSent or Lost.

    Takes one request at a time until the server has accepted our token, as Apple asks.
    """

    def __init__(self, on_change: Callable[[], None], on_lost: Callable[["Connection"], None]) -> None:
        super().__init__(apns_topic="", loop=asyncio.get_running_loop(), on_connection_lost=on_lost)
        self.conn = _Http2()
        self.on_change = on_change
        self.open: dict[int, Request] = {}
        self.draining = False
        self.proven = False
        self.closed = asyncio.Event()
        self._heard_at = self.loop.time()
        self._drain_timer: asyncio.TimerHandle | None = None

    # --- sending -------------------------------------------------------------------------------------------------

    def has_room(self, size: int) -> bool:
        """Whether a request with ``size`` bytes of body can be written at once."""
        if self.draining or self.transport is None or self.transport.is_closing():
            return False
        settings = self.conn.remote_settings
        limit = min(settings.max_concurrent_streams, MAX_STREAMS) if self.proven else 1
        window = min(self.conn.outbound_flow_control_window, settings.initial_window_size)
        return len(self.open) < limit and size <= window

    def write(self, request: Request) -> None:
        """Writes a request for which there is room."""
        try:
            stream_id = self.conn.get_next_available_stream_id()
            self.conn.send_headers(stream_id, request.headers)
            self.conn.send_data(stream_id, request.body, end_stream=True)
        except H2Error as error:
            # Nothing was flushed, but the header compression state may differ from the server's: no more requests.
            self.conn.clear_outbound_data_buffer()
            self.drain()
            request.resolve(NotSent(type(error).__name__))
            return
        request.connection, request.stream_id, request.written_at = self, stream_id, self.loop.time()
        self.open[stream_id] = request
        self.flush()

    def forget(self, request: Request, *, silent: bool) -> None:
        """Gives up a request that is still open; its late answer concerns nobody.

        Args:
            silent: its time is over. With not a byte heard since, the connection may be dead: it gets no more.
        """
        if self.open.pop(request.stream_id, None) is None:
            return
        try:
            self.conn.reset_stream(request.stream_id, ErrorCodes.CANCEL)
        except H2Error:
            self.drain()
        self.flush()
        if silent and self._heard_at <= request.written_at:
            self.drain()
        self._after_change()

    def flush(self) -> None:
        data = self.conn.data_to_send()
        if data and self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    # --- receiving -----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.loop.time()
        try:
            for event in self.conn.receive_data(data):
                self._on_event(event)
        except H2Error as error:
            log.warning("APNs broke the HTTP/2 protocol (%s); closing the connection", type(error).__name__)
            self.flush()
            self.close()
            return
        self.flush()
        self._after_change()

    def _on_event(self, event: Any) -> None:
        match event:
            case ResponseReceived() if request := self.open.get(event.stream_id):
                request.reply_headers = dict(event.headers)
            case DataReceived():
                # Unacknowledged bytes would use up the connection's window and stall it for good.
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if (request := self.open.get(event.stream_id)) and len(request.reply_body) < MAX_BODY:
                    request.reply_body += event.data
            case StreamEnded() if request := self.open.pop(event.stream_id, None):
                status = _status_of(request.reply_headers)
                self.proven = self.proven or status != 403
                request.resolve(Reply(status, request.reply_headers, bytes(request.reply_body), self))
            case StreamReset() if request := self.open.pop(event.stream_id, None):
                refused = event.error_code == ErrorCodes.REFUSED_STREAM
                request.resolve(NotSent("REFUSED_STREAM") if refused else Lost("connection_lost"))
            case ConnectionTerminated():
                self._on_goaway(event.last_stream_id or 0, event.error_code)

    def _on_goaway(self, last_stream_id: int, error_code: int) -> None:
        log.info("APNs says GOAWAY (error %s); draining the connection", int(error_code))
        for stream_id in [one for one in self.open if one > last_stream_id]:
            self.open.pop(stream_id).resolve(NotSent("GOAWAY"))
        self.drain()

    # --- life ----------------------------------------------------------------------------------------------------

    def refresh_inactivity_timer(self) -> None:
        """Called when the connection stands: keeps it for hours, and asks a silent one whether it is alive."""
        silence = self.loop.time() - self._heard_at
        if silence < IDLE_S:
            self.inactivity_timer = self.loop.call_later(IDLE_S - silence, self.refresh_inactivity_timer)
            return
        self.conn.ping(b"tocsin??")
        self.flush()
        self.inactivity_timer = self.loop.call_later(PONG_S, self._expect_pong, self.loop.time())

    def _expect_pong(self, asked_at: float) -> None:
        if self._heard_at < asked_at:
            self.close()
        else:
            self.refresh_inactivity_timer()

    def drain(self) -> None:
        """Takes no more requests; closes when the open ones are answered, or after DRAIN_S."""
        if not self.draining:
            self.draining = True
            self._drain_timer = self.loop.call_later(DRAIN_S, self.close)
        self._after_change()

    def _after_change(self) -> None:
        if self.draining and not self.open:
            self.close()
        self.on_change()

    def close(self) -> None:
        """Gives up what is open and says goodbye; ``closed`` is set when the transport is gone."""
        self.draining = True
        super().close()
        self._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self.draining = True
        self._give_up()
        self.closed.set()
        self.on_connection_lost(self)

    def _give_up(self) -> None:
        for timer in (self.inactivity_timer, self._drain_timer):
            if timer is not None:
                timer.cancel()
        while self.open:
            self.open.popitem()[1].resolve(Lost("connection_lost"))


def _status_of(headers: dict[bytes, bytes]) -> int:
    """0 for what is no status: h2 looks at the name only."""
    status = headers.get(b":status", b"")
    return int(status) if len(status) == 3 and status.isdigit() else 0
