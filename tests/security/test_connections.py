"""Slow and many connections: silence is ended, and shuts nobody out."""

import asyncio
import json
import re
from contextlib import AsyncExitStack

import pytest

from app.api.connections import MAX_HEADER_BYTES, MAX_REQUEST_LINE_BYTES, ConnectionLimits
from tests.calling import user_token
from tests.security.conftest import Door, Opening, api_key

SHOP = "shop." + "s" * 43
SHORT = 0.1
START = b"GET /openapi.json HTTP/1.1\r\n"
WHOLE = START + b"Host: a\r\n\r\n"
READ = f"GET /v1/users/ada/devices HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {user_token('ada')}\r\n\r\n".encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """The next answer of a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    headers = {name.lower(): value for name, value in re.findall(r"^([\w-]+): (.*)\r$", head, re.MULTILINE)}
    return int(head.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Waits for its end, whatever comes before."""
    async with asyncio.timeout(30):
        try:
            while await reader.read(1 << 16):
                pass
        except ConnectionError:
            pass
    return True


@pytest.mark.parametrize("sent", [b"G", START, START + b"Host: a\r\nX-", b"\r\n", b"\r\n\r\n\r\n"])
async def test_a_header_that_does_not_end_ends_the_connection(open_door: Opening, sent: bytes) -> None:
    async with open_door(limits=ConnectionLimits(header_s=SHORT)) as door, door.raw(sent) as (reader, _):
        assert await is_closed(reader)


async def test_bytes_that_trickle_do_not_prolong_a_header(open_door: Opening) -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(SHORT / 10)

    async with open_door(limits=ConnectionLimits(header_s=SHORT)) as door, door.raw(START) as (reader, writer):
        trickling = asyncio.create_task(trickle(writer))
        assert await is_closed(reader)
        trickling.cancel()


async def test_a_connection_without_a_request_is_closed(open_door: Opening) -> None:
    limits = ConnectionLimits(idle_s=SHORT)
    async with open_door(limits=limits) as door, AsyncExitStack() as stack:
        for sent in (b"", WHOLE, WHOLE + b"GET"):
            reader, _ = await stack.enter_async_context(door.raw(sent))
            assert await is_closed(reader)


async def test_an_answer_that_nobody_takes_ends_the_connection(open_door: Opening) -> None:
    async with open_door(limits=ConnectionLimits(blocked_s=SHORT)) as door, door.raw() as (_, writer):
        try:
            async with asyncio.timeout(30):
                while True:
                    writer.write(WHOLE * 20)
                    await writer.drain()
        except ConnectionError:
            return
    pytest.fail("it goes on for ever")


async def test_what_is_in_time_is_answered_again_and_again(open_door: Opening) -> None:
    async with open_door() as door, door.raw() as (reader, writer):
        for piece in (WHOLE[:5], WHOLE[5:], WHOLE, WHOLE + WHOLE[:20], WHOLE[20:]):
            writer.write(piece)
            await writer.drain()
        assert [(await answer(reader))[0] for _ in range(4)] == [200] * 4


@pytest.mark.parametrize("limits", [ConnectionLimits(unknown=10), ConnectionLimits(unknown_per_address=10)])
async def test_silent_connections_shut_nobody_out(open_door: Opening, limits: ConnectionLimits) -> None:
    async with open_door(api_key(SHOP), limits=limits) as door, AsyncExitStack() as stack:
        silent = [(await stack.enter_async_context(door.raw(START)))[0] for _ in range(40)]
        reader, _ = await stack.enter_async_context(door.raw(READ))

        assert (await answer(reader))[0] == 200
        assert all([await is_closed(one) for one in silent[:31]])
        assert len(door.connections) <= 11


async def test_callers_with_good_credentials_do_not_count(open_door: Opening) -> None:
    async with open_door(limits=ConnectionLimits(unknown_per_address=10)) as door, AsyncExitStack() as stack:
        known = [await stack.enter_async_context(door.raw(READ)) for _ in range(40)]
        assert [(await answer(reader))[0] for reader, _ in known] == [200] * 40
        for _ in range(40):
            await stack.enter_async_context(door.raw(START))

        for reader, writer in known:
            writer.write(READ)
            assert (await answer(reader))[0] == 200


async def _problem(door: Door, sent: bytes) -> tuple[int, dict[str, str]]:
    async with door.raw(sent) as (reader, _):
        status, headers, body = await answer(reader)
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(body)["status"] == status
        assert await is_closed(reader)
    return status, headers


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (START + b"Host: a\r\nHost: b\r\n\r\n", 400),
        (START + b"Host : a\r\n\r\n", 400),
        (START + b"Host: a\x00\r\n\r\n", 400),
        (START + b"Content-Length: x\r\n\r\n", 400),
        (START + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /" + b"a" * MAX_REQUEST_LINE_BYTES + b" HTTP/1.1\r\n\r\n", 414),
        (START + b"X: " + b"a" * MAX_HEADER_BYTES + b"\r\n\r\n", 431),
        (START + b"X" * MAX_HEADER_BYTES + b": a\r\n\r\n", 431),
        (START + b"X: a\r\n" * 1000 + b"\r\n", 431),
    ],
    ids=[
        "no method",
        "TLS",
        "version",
        "two hosts",
        "space",
        "null",
        "length",
        "two lengths",
        "long path",
        "long value",
        "long name",
        "many headers",
    ],
)
async def test_what_is_not_http_is_a_problem_and_writes_no_trace(
    open_door: Opening, sent: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_door() as door:
        found, headers = await _problem(door, sent)

    assert found == status
    assert "server" not in headers
    assert headers["x-content-type-options"] == "nosniff"
    assert not caplog.records
