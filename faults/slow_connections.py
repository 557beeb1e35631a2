"""``python -m faults.slow_connections HOST PORT COUNT [BACK_S]``: an attacker whose connections never get to the point.

A third sends nothing; the others send a header a line at a time, for ever. They come from a hundred addresses. One that
is closed comes back after BACK_S seconds or so (default 15, as the common tools do). Every second it prints how many
connections were opened at least once, and how often one was closed by the other side; it goes on until it is ended.
"""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

#: Between two lines of a header, seconds.
_LINE_S = 5.0
_ADDRESSES = 100


class Attacker:
    """``opened``: how many of the connections were open at least once; ``closed``: how often one was closed."""

    def __init__(self, host: str, port: int, count: int, back_s: float) -> None:
        self._host = host
        self._port = port
        self._count = count
        self._back_s = back_s
        self._chance = Random(count)
        self.opened = 0
        self.closed = 0

    async def go_on(self) -> None:
        """Until it is cancelled."""
        await asyncio.gather(self._report(), *(self._one(number) for number in range(self._count)))

    async def _report(self) -> None:
        while True:
            print(self.opened, self.closed, flush=True)
            await asyncio.sleep(1.0)

    async def _one(self, number: int) -> None:
        address = f"127.0.{1 + number % _ADDRESSES}.1"
        await asyncio.sleep(self._chance.random() * self._back_s / 2)
        first = True
        while True:
            try:
                reader, writer = await asyncio.open_connection(self._host, self._port, local_addr=(address, 0))
            except OSError:
                await asyncio.sleep(self._chance.random())
                continue
            self.opened += first
            first = False
            try:
                await _dribble(reader, writer, silent=number % 3 == 0)
            finally:
                writer.transport.abort()
            self.closed += 1
            await asyncio.sleep(self._back_s * (0.5 + self._chance.random()))


async def _dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, silent: bool) -> None:
    """Returns when the other side has closed."""
    ending = asyncio.ensure_future(reader.read())
    try:
        if not silent:
            writer.write(b"POST /v1/notifications HTTP/1.1\r\nHost: slow\r\n")
        while not (await asyncio.wait([ending], timeout=_LINE_S))[0]:
            if not silent:
                writer.write(b"X-Slow: a\r\n")
    finally:
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)


@asynccontextmanager
async def slow_connections(url: str, count: int, back_s: float = 15.0) -> AsyncIterator[AsyncIterator[tuple[int, int]]]:
    """Runs it beside us for as long as the context lasts; yields what it prints. ``url``: ``http://HOST:PORT``."""
    host, port = url.removeprefix("http://").split(":")
    command = (sys.executable, "-m", "faults.slow_connections", host, port, str(count), str(back_s))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield _counts(process.stdout)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _counts(printed: asyncio.StreamReader) -> AsyncIterator[tuple[int, int]]:
    async for line in printed:
        opened, closed = map(int, line.split())
        yield opened, closed
    raise RuntimeError("the slow connections have ended")


def _main(host: str, port: str, count: str, back_s: str = "15") -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(Attacker(host, int(port), int(count), float(back_s)).go_on())


if __name__ == "__main__":
    _main(*sys.argv[1:])
