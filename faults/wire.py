"""A TCP proxy between a client and a server whose wire can be slowed, frozen, cut, reset and healed while it runs.

In a process of one's own it is an object with methods::

    async with Wire(("127.0.0.1", 9092), port=19092) as wire:
        wire.slow(latency_ms=300, bytes_per_s=100_000)
        await wire.cut()
        await wire.heal()

A Kafka client goes where the broker says that it lives, so the broker needs a listener whose advertised port is the
proxy's (``detour`` in ``app/dev/broker.py``).
"""

import argparse
import asyncio
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Any, Self

from aiohttp import web

Endpoint = tuple[str, int]

_CHUNK = 64 << 10
#: So many chunks may be under way in a direction; then the sender has to wait, as on a real wire.
_UNDER_WAY = 64
_REBIND_S = 60.0
#: What is limited goes in so many pieces a second.
_STEPS_A_SECOND = 20


@dataclass(frozen=True, slots=True)
class Condition:
    """What the wire does to what goes over it, in each direction.

    Attributes:
        latency_ms: everything comes so much later.
        bytes_per_s: no more than this for each connection; None: no limit.
        close_ms: an end of one side is told to the other so much later.
        frozen: connections are accepted, and nothing passes.
        cut: there are no connections, and new ones are refused.
    """

    latency_ms: int = 0
    bytes_per_s: int | None = None
    close_ms: int = 0
    frozen: bool = False
    cut: bool = False


class Wire:
    """Open from ``start`` to ``stop``, or as an async context. ``port`` 0: any free one, see ``port`` afterwards."""

    def __init__(self, to: Endpoint, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._to = to
        self._host = host
        self.port = port
        self.condition = Condition()
        #: Connections accepted so far.
        self.accepted = 0
        self._server: asyncio.Server | None = None
        #: Holds the port while the wire is cut, so that nobody else takes it; it doesn't listen.
        self._placeholder: socket.socket | None = None
        self._links: set[_Link] = set()
        self._thawed = asyncio.Event()
        self._thawed.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def connections(self) -> int:
        """Those open now."""
        return len(self._links)

    async def start(self) -> None:
        """Raises OSError if the port is taken."""
        await self._listen(self._bound())

    async def stop(self) -> None:
        self._unlisten()
        self._drop_all()
        self._release()

    def slow(self, *, latency_ms: int = 0, bytes_per_s: int | None = None, close_ms: int = 0) -> None:
        """Slows what passes from now on; without arguments it is fast again."""
        self.condition = replace(self.condition, latency_ms=latency_ms, bytes_per_s=bytes_per_s, close_ms=close_ms)

    def freeze(self) -> None:
        """Nothing passes any more; connections stay, new ones are accepted, and nobody is told."""
        self.condition = replace(self.condition, frozen=True)
        self._thawed.clear()

    async def cut(self) -> None:
        """Drops all connections and refuses new ones."""
        if self.condition.cut:
            return
        self.condition = replace(self.condition, cut=True)
        self._unlisten()
        self._drop_all()
        self._placeholder = await self._bound_again()

    def reset(self) -> int:
        """Resets the connections that are there (RST to both sides), and says how many; new ones are welcome."""
        return self._drop_all()

    async def heal(self) -> None:
        """A good wire again: not slow, not frozen, not cut."""
        was_cut, self.condition = self.condition.cut, Condition()
        self._thawed.set()
        if was_cut:
            placeholder, self._placeholder = self._placeholder, None
            await self._listen(placeholder or await self._bound_again())

    # --- listening

    def _bound(self) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((self._host, self.port))
        except OSError:
            sock.close()
            raise
        self.port = sock.getsockname()[1]
        return sock

    async def _bound_again(self) -> socket.socket:
        """The port once more, whose last socket may take a moment to be gone."""
        deadline = time.monotonic() + _REBIND_S
        while True:
            try:
                return self._bound()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.02)

    async def _listen(self, sock: socket.socket) -> None:
        self._server = await asyncio.start_server(self._connected, sock=sock, limit=_CHUNK)

    def _unlisten(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _release(self) -> None:
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None

    # --- connections

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(self, writer)
        self._links.add(link)
        try:
            await link.carry(reader, self._to)
        finally:
            link.drop()
            self._links.discard(link)

    def _drop_all(self) -> int:
        links, self._links = self._links, set()  # those are not open any more, though they take a moment to end
        for link in links:
            link.drop()
        return len(links)

    async def passes(self) -> None:
        """Returns when something may pass."""
        await self._thawed.wait()


class _Link:
    """One connection of a client, and ours to the server for it."""

    def __init__(self, wire: Wire, client: asyncio.StreamWriter) -> None:
        self._wire = wire
        self._client = client
        self._server: asyncio.StreamWriter | None = None
        self._carrying: asyncio.Task[None] | None = None

    async def carry(self, reader: asyncio.StreamReader, to: Endpoint) -> None:
        """Until both sides have ended, one of them failed, or it is dropped."""
        self._carrying = asyncio.create_task(self._carry(reader, to))
        with suppress(asyncio.CancelledError):
            await self._carrying

    async def _carry(self, reader: asyncio.StreamReader, to: Endpoint) -> None:
        try:
            answers, self._server = await asyncio.open_connection(*to, limit=_CHUNK)
            async with asyncio.TaskGroup() as tasks:
                for source, target in ((reader, self._server), (answers, self._client)):
                    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)
                    tasks.create_task(_take(source, under_way))
                    tasks.create_task(self._deliver(under_way, target))
        except* OSError:
            pass  # of either side; the other is dropped with it

    async def _deliver(self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            taken_at, data = await under_way.get()
            condition = self._wire.condition
            late_ms = condition.latency_ms if data else condition.latency_ms + condition.close_ms
            await asyncio.sleep(max(0.0, taken_at + late_ms / 1000 - time.monotonic()))
            await self._wire.passes()
            if not data:
                writer.write_eof()
                return
            step = max(1, (condition.bytes_per_s or 0) // _STEPS_A_SECOND) if condition.bytes_per_s else len(data)
            for begin in range(0, len(data), step):
                writer.write(data[begin : begin + step])
                await writer.drain()
                if condition.bytes_per_s:
                    await asyncio.sleep(step / condition.bytes_per_s)

    def drop(self) -> None:
        """Without a goodbye: RST to both sides."""
        if self._carrying is not None:
            self._carrying.cancel()
        for writer in (self._client, self._server):
            sock = writer.get_extra_info("socket") if writer is not None else None
            if writer is not None and sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()


async def _take(reader: asyncio.StreamReader, under_way: asyncio.Queue[tuple[float, bytes]]) -> None:
    while data := await reader.read(_CHUNK):
        await under_way.put((time.monotonic(), data))
    await under_way.put((time.monotonic(), b""))


# --- the command line


def control_app(wire: Wire) -> web.Application:
    """``GET /`` tells the condition; ``POST /slow`` takes Condition's numbers as JSON; ``POST /freeze``, ``/cut``,
    ``/reset``, ``/heal`` take nothing."""

    async def told(request: web.Request | None = None) -> web.Response:
        counts = {"accepted": wire.accepted, "connections": wire.connections}
        return web.json_response({"port": wire.port, **asdict(wire.condition), **counts})

    async def slow(request: web.Request) -> web.Response:
        given: dict[str, Any] = await request.json()
        for name, value in given.items():
            if name not in ("latency_ms", "bytes_per_s", "close_ms"):
                return web.json_response(
                    {"error": "is not one of latency_ms, bytes_per_s, close_ms", "field": name}, status=400
                )
            if not isinstance(value, int) or value < 0:
                return web.json_response({"error": "is not a whole number from 0", "field": name}, status=400)
        wire.slow(**given)
        return await told()

    def act(action: Callable[[], Awaitable[object] | object]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            done = action()
            if isinstance(done, Awaitable):
                await done
            return await told()

        return handle

    app = web.Application()
    app.add_routes([web.get("/", told), web.post("/slow", slow)])
    actions = {"freeze": wire.freeze, "cut": wire.cut, "reset": wire.reset, "heal": wire.heal}
    app.add_routes([web.post(f"/{name}", act(action)) for name, action in actions.items()])
    return app


async def _serve(listen: Endpoint, to: Endpoint, control: int) -> None:
    async with Wire(to, host=listen[0], port=listen[1]) as wire:
        runner = web.AppRunner(control_app(wire), access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", control)
            await site.start()
            at = runner.addresses[0][1]
            print(f"wire ready {listen[0]}:{wire.port} to {to[0]}:{to[1]}, control http://127.0.0.1:{at}", flush=True)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


def _endpoint(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host, int(port)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m faults.wire",
        description="A TCP proxy that is slowed, frozen, cut, reset and healed by POST /slow, /freeze, /cut, /reset, "
        "/heal at its control port.",
        epilog="Example: python -m faults.wire --listen 127.0.0.1:19092 --to 127.0.0.1:9092 --control 8099; "
        "curl -X POST http://127.0.0.1:8099/cut",
    )
    parser.add_argument("--listen", type=_endpoint, required=True, metavar="HOST:PORT", help="where clients connect")
    parser.add_argument("--to", type=_endpoint, required=True, metavar="HOST:PORT", help="the server")
    parser.add_argument("--control", type=int, default=0, metavar="PORT", help="of the control API (default: any)")
    given = parser.parse_args(arguments)
    try:
        asyncio.run(_serve(given.listen, given.to, given.control))
    except OSError as error:
        print(f"wire: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
