"""An HTTP/2 server that answers as a test scripts it, down to the frames: what APNs' own simulators don't do."""

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

GRACEFUL = 2**31 - 1


@dataclass
class Request:
    """One request as received, and what the script may do about it."""

    connection: "ServerConnection"
    stream_id: int
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def token(self) -> str:
        return self.headers[":path"].rsplit("/", 1)[1]

    def answer(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        fields = [(":status", str(status)), ("apns-id", self.headers["apns-id"])]
        fields += [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.connection.h2.send_headers(self.stream_id, fields, end_stream=not body)
        if body:
            self.connection.h2.send_data(self.stream_id, body, end_stream=True)
        self.connection.flush()

    def refuse(self, status: int, reason: str, **more: Any) -> None:
        self.answer(status, json.dumps({"reason": reason, **more}).encode())

    def reset(self, code: ErrorCodes) -> None:
        self.connection.h2.reset_stream(self.stream_id, code)
        self.connection.flush()


Script = Callable[[Request], None]


class ServerConnection(asyncio.Protocol):
    def __init__(self, server: "ApnsServer") -> None:
        self.server = server
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.requests: dict[int, Request] = {}
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.server.connections.append(self)
        self.h2.local_settings.update({SettingCodes.MAX_CONCURRENT_STREAMS: self.server.max_streams})
        self.h2.local_settings.acknowledge()
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            match event:
                case RequestReceived():
                    self.requests[event.stream_id] = Request(self, event.stream_id, dict(event.headers))
                case DataReceived():
                    self.requests[event.stream_id].body += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case StreamEnded():
                    self.server.received(self.requests[event.stream_id])
                case StreamReset():
                    self.server.resets.append(event.stream_id)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def goaway(self, last_stream_id: int) -> None:
        """Says GOAWAY by hand: h2 would close its side, and answer no more."""
        frame = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + last_stream_id.to_bytes(4, "big") + bytes(4)
        self.transport.write(frame)

    def cut(self) -> None:
        self.transport.abort()


class ApnsServer:
    """Listens on a free port of this machine; ``script`` is called with each complete request."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self.port = 0
        self.max_streams = 1000
        self.script: Script = Request.answer
        self.requests: list[Request] = []
        self.connections: list[ServerConnection] = []
        self.resets: list[int] = []
        self._arrived = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: ServerConnection(self), "127.0.0.1", 0, ssl=self._tls)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def received(self, request: Request) -> None:
        self.requests.append(request)
        task = asyncio.create_task(self._announce())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.script(request)

    async def _announce(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()

    async def until_received(self, count: int) -> None:
        async with asyncio.timeout(30), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    async def stop(self) -> None:
        self._server.close()
        for connection in self.connections:
            connection.transport.abort()
        await self._server.wait_closed()
