"""The wire between a client and a server, with an echoing server behind it."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from faults.wire import Wire
from tests.conftest import eventually

_REPOSITORY = Path(__file__).parents[3]
_LIMIT_S = 60.0
#: Long enough to see that nothing comes.
_NOTHING_S = 0.3
#: A loop's timers may be early by the grain of its clock.
_EARLY_S = 0.01


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a server that says everything back."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def wire(echo: int) -> AsyncIterator[Wire]:
    async with Wire(("127.0.0.1", echo)) as wire:
        yield wire


class Client:
    """A connection through the wire."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, wire: Wire) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", wire.port))

    async def said_back(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await asyncio.wait_for(self.reader.readexactly(len(data)), _LIMIT_S)

    async def is_silent(self) -> bool:
        try:
            await asyncio.wait_for(self.reader.read(1), _NOTHING_S)
        except TimeoutError:
            return True
        return False

    async def was_reset(self) -> bool:
        try:
            await asyncio.wait_for(self.reader.read(1), _LIMIT_S)
        except ConnectionResetError:
            return True
        return False


async def test_what_is_said_passes_both_ways_whole(wire: Wire) -> None:
    client = await Client.to(wire)
    data = bytes(range(256)) * 8192

    assert await client.said_back(data) == data


async def test_the_end_of_one_side_is_told_to_the_other(wire: Wire) -> None:
    client = await Client.to(wire)
    await client.said_back(b"before")
    client.writer.write_eof()

    assert await asyncio.wait_for(client.reader.read(), _LIMIT_S) == b""
    await eventually(lambda: no_connections(wire))


async def no_connections(wire: Wire) -> bool:
    return wire.connections == 0


async def test_latency_delays_each_direction(wire: Wire) -> None:
    client = await Client.to(wire)
    await client.said_back(b"quick")
    wire.slow(latency_ms=150)
    started = time.monotonic()
    await client.said_back(b"late")

    assert time.monotonic() - started >= 0.3 - _EARLY_S


async def test_bandwidth_limits_what_passes(wire: Wire) -> None:
    client = await Client.to(wire)
    wire.slow(bytes_per_s=50_000)
    started = time.monotonic()
    await client.said_back(b"x" * 20_000)

    assert time.monotonic() - started >= 0.3  # the last drop needn't be waited out


async def test_a_slow_close_is_told_later(wire: Wire) -> None:
    client = await Client.to(wire)
    await client.said_back(b"before")
    wire.slow(close_ms=200)
    started = time.monotonic()
    client.writer.write_eof()
    await asyncio.wait_for(client.reader.read(), _LIMIT_S)

    assert time.monotonic() - started >= 0.4 - _EARLY_S


async def test_a_frozen_wire_accepts_and_passes_nothing_until_it_is_healed(wire: Wire) -> None:
    before = await Client.to(wire)
    await before.said_back(b"before")
    wire.freeze()
    after = await Client.to(wire)
    for client in (before, after):
        client.writer.write(b"kept")

    assert await before.is_silent()
    assert await after.is_silent()
    await wire.heal()
    for client in (before, after):
        assert await asyncio.wait_for(client.reader.readexactly(4), _LIMIT_S) == b"kept"


async def test_a_cut_wire_drops_and_refuses_until_it_is_healed(wire: Wire) -> None:
    client = await Client.to(wire)
    await client.said_back(b"before")
    await wire.cut()

    assert await client.was_reset()
    with pytest.raises(ConnectionRefusedError):
        await Client.to(wire)
    await wire.heal()
    assert await (await Client.to(wire)).said_back(b"again") == b"again"


async def test_a_frozen_connection_can_be_cut(wire: Wire) -> None:
    client = await Client.to(wire)
    await client.said_back(b"before")
    wire.freeze()
    client.writer.write(b"never")
    await wire.cut()

    assert await client.was_reset()
    await eventually(lambda: no_connections(wire))


async def test_a_reset_ends_the_connections_that_are_there_and_no_others(wire: Wire) -> None:
    client = await Client.to(wire)
    await client.said_back(b"before")

    assert wire.reset() == 1
    assert await client.was_reset()
    assert await (await Client.to(wire)).said_back(b"again") == b"again"


async def test_without_a_server_the_client_loses_its_connection() -> None:
    async with Wire(("127.0.0.1", 1)) as wire:
        assert await (await Client.to(wire)).was_reset()


@pytest.fixture
def program(echo: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "faults.wire", "--listen", "127.0.0.1:0", "--to", f"127.0.0.1:{echo}"]
    process = subprocess.Popen(command, cwd=_REPOSITORY, stdout=subprocess.PIPE, text=True)
    yield process
    process.terminate()
    process.wait()


async def test_the_command_is_told_over_http_what_to_do(program: subprocess.Popen[str]) -> None:
    assert program.stdout is not None
    ready = (await asyncio.to_thread(program.stdout.readline)).split()
    port, control = int(ready[2].rpartition(":")[2]), ready[-1]
    async with aiohttp.ClientSession() as http:

        async def post(path: str, **body: object) -> tuple[int, dict[str, object]]:
            async with http.post(f"{control}/{path}", json=body) as response:
                return response.status, json.loads(await response.read())

        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        assert await asyncio.wait_for(reader.readexactly(5), _LIMIT_S) == b"hello"
        assert (await post("slow", latency_ms=20))[1]["latency_ms"] == 20
        assert await post("slow", speed=1) == (
            400,
            {"error": "is not one of latency_ms, bytes_per_s, close_ms", "field": "speed"},
        )
        assert (await post("cut"))[1]["cut"] is True
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert (await post("heal"))[1] | {"accepted": 0} == {
            "port": port,
            "latency_ms": 0,
            "bytes_per_s": None,
            "close_ms": 0,
            "frozen": False,
            "cut": False,
            "accepted": 0,
            "connections": 0,
        }
        writer.close()
