"""An HTTP/1.1 server on a bare socket that answers, falls silent or hangs up as a test scripts it."""

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs


@dataclass(frozen=True)
class Received:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()

    def encode(self) -> bytes:
        fields = [("Content-Type", "application/json"), ("Content-Length", str(len(self.body))), *self.headers]
        head = "".join(f"{name}: {value}\r\n" for name, value in fields)
        return f"HTTP/1.1 {self.status} Told\r\n{head}\r\n".encode() + self.body


def told(status: int, content: Any, **headers: str) -> Answer:
    """A JSON answer; header names with underscores for dashes."""
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(status, json.dumps(content).encode(), fields)


#: What the script may do besides answering.
SILENCE, HANG_UP = "silence", "hang up"
Script = Callable[[Received], Answer | str]


class HttpServer:
    """Counts what it received; ``url`` is on this machine, plain HTTP unless it is started with a TLS context."""

    def __init__(self) -> None:
        self.script: Script = lambda _: Answer()
        self.received: list[Received] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                request = await self._read(reader)
                self.received.append(request)
                match self.script(request):
                    case Answer() as answer:
                        writer.write(answer.encode())
                    case "hang up":
                        writer.transport.abort()
                        return
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Received:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.rstrip("\r\n").split("\r\n")
        method, target, _ = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Received(method, target, headers, body)
