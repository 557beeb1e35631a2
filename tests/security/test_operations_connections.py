"""Slow and many connections at the operations port: silence is ended, and keeps no probe and no gateway out."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from yarl import URL

from app.api.connections import MAX_HEADER_BYTES, ConnectionLimits
from app.config import Operations
from app.domain import signed_reads
from app.operations import LIMITS, OperationsServer, ServedState

SECRET = b"the installation's own secret of 32 bytes"
SHORT = 0.1
START = b"GET /health/ready HTTP/1.1\r\n"
WHOLE = START + b"Host: a\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class State:
    async def read(self, partition: int, view: str, user_id: str, *_: Any) -> Mapping[str, Any]:
        return {"user_id": user_id}


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def opened(folder: Path, limits: ConnectionLimits = LIMITS) -> AsyncIterator[OperationsServer]:
    state = ServedState(State(), SECRET, unix_ms)
    server = OperationsServer(
        role="router", problem=lambda: None, registry=CollectorRegistry(), state=state, limits=limits
    )
    await server.start(Operations(), folder)
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def raw(server: OperationsServer, sent: bytes = b"") -> AsyncIterator[Streams]:
    url = URL(server.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(sent)
        yield reader, writer
    finally:
        writer.close()


async def status(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(30):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length")
        )
        await reader.readexactly(length)
    return int(head.split()[1])


async def is_closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(30):
        try:
            while await reader.read(1 << 16):
                pass
        except ConnectionError:
            pass
    return True


@pytest.mark.parametrize("sent", [b"G", START, START + b"Host: a\r\nX-", b"\r\n"], ids=repr)
async def test_a_header_that_does_not_end_ends_the_connection(tmp_path: Path, sent: bytes) -> None:
    async with opened(tmp_path, ConnectionLimits(header_s=SHORT)) as server, raw(server, sent) as (reader, _):
        assert await is_closed(reader)


async def test_a_connection_without_a_request_is_closed(tmp_path: Path) -> None:
    async with opened(tmp_path, ConnectionLimits(idle_s=SHORT)) as server:
        for sent in (b"", WHOLE):
            async with raw(server, sent) as (reader, _):
                assert await is_closed(reader)


@pytest.mark.parametrize(
    "limits",
    [LIMITS, ConnectionLimits(unknown=10), ConnectionLimits(unknown_per_address=10)],
    ids=["own", "all", "one"],
)
async def test_silent_connections_keep_no_probe_out(tmp_path: Path, limits: ConnectionLimits) -> None:
    most = min(limits.unknown, limits.unknown_per_address)
    async with opened(tmp_path, limits) as server, AsyncExitStack() as stack:
        silent = [(await stack.enter_async_context(raw(server, START)))[0] for _ in range(most + 30)]
        reader, _ = await stack.enter_async_context(raw(server, WHOLE))

        assert await status(reader) == 200
        assert all([await is_closed(one) for one in silent[:30]])
        assert len(server.connections) <= most + 1


async def test_a_gateway_that_has_signed_a_read_is_not_counted(tmp_path: Path) -> None:
    async with opened(tmp_path, ConnectionLimits(unknown_per_address=5)) as server, AsyncExitStack() as stack:
        host, target = URL(server.url).raw_authority, "/state/profile?partition=1&user_id=ada"
        proof = signed_reads.authorization(SECRET, "GET", host, target, unix_ms())
        read = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {proof}\r\n\r\n".encode()
        known = [await stack.enter_async_context(raw(server, read)) for _ in range(20)]
        assert [await status(reader) for reader, _ in known] == [200] * 20
        for _ in range(20):
            await stack.enter_async_context(raw(server, START))

        for reader, writer in known:
            writer.write(WHOLE)
            assert await status(reader) == 200


async def test_who_signs_with_another_secret_is_counted(tmp_path: Path) -> None:
    async with opened(tmp_path, ConnectionLimits(unknown_per_address=5)) as server, AsyncExitStack() as stack:
        host, target = URL(server.url).raw_authority, "/state/profile?partition=1&user_id=ada"
        proof = signed_reads.authorization(b"x" * 40, "GET", host, target, unix_ms())
        read = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {proof}\r\n\r\n".encode()
        reader, _ = await stack.enter_async_context(raw(server, read))
        assert await status(reader) == 401
        for _ in range(10):
            await stack.enter_async_context(raw(server, START))
        assert await is_closed(reader)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"hello\r\n\r\n", 400),
        (START + b"X: " + b"a" * MAX_HEADER_BYTES + b"\r\n\r\n", 431),
        (START + b"X: a\r\n" * 1000 + b"\r\n", 431),
    ],
    ids=["no method", "long header", "many headers"],
)
async def test_what_is_not_http_is_refused(tmp_path: Path, sent: bytes, expected: int) -> None:
    async with opened(tmp_path) as server, raw(server, sent) as (reader, _):
        assert await status(reader) == expected
        assert await is_closed(reader)
