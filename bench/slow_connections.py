"""``python -m bench.slow_connections HOST PORT COUNT``: an attacker with many connections that never get to the point.

A third sends nothing; the others send a header a line at a time, for ever. One that is closed comes back after a while,
as the common tools do. It prints a line when all have been opened once, and goes on until it is ended.
"""

import asyncio
import resource
import sys
from random import Random

#: Between two lines of a header, and until a closed connection comes back, seconds.
_LINE_S, _BACK_S = 5.0, 15.0
#: They come from so many addresses, over so many seconds.
_ADDRESSES, _WITHIN_S = 100, 10.0


class Attacker:
    """``opened``: how many of the connections were open at least once."""

    def __init__(self, host: str, port: int, count: int) -> None:
        self._host = host
        self._port = port
        self._count = count
        self._chance = Random(count)
        self.opened = 0

    async def go_on(self) -> None:
        """Until it is cancelled."""
        await asyncio.gather(*(self._one(number) for number in range(self._count)))

    async def _one(self, number: int) -> None:
        address = f"127.0.{1 + number % _ADDRESSES}.1"
        await asyncio.sleep(self._chance.random() * _WITHIN_S)
        first = True
        while True:
            try:
                reader, writer = await asyncio.open_connection(self._host, self._port, local_addr=(address, 0))
            except OSError:
                await asyncio.sleep(self._chance.random())
                continue
            self._count_first(first)
            first = False
            try:
                await _dribble(reader, writer, silent=number % 3 == 0)
            except OSError:
                pass
            finally:
                writer.transport.abort()
            await asyncio.sleep(_BACK_S * (0.5 + self._chance.random()))

    def _count_first(self, first: bool) -> None:
        self.opened += first
        if first and self.opened == self._count:
            print("all were open", flush=True)


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


def main(host: str, port: int, count: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(Attacker(host, port, count).go_on())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
