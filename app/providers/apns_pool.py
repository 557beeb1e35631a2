"""The connections to one APNs host: who waits for room on them, and when another is opened."""

import asyncio
import ssl
from functools import partial

from app.providers.apns_http2 import Connection
from app.providers.wire import CONNECT_S

#: Seconds to wait for the other side's goodbye.
GOODBYE_S = 1.0
#: Seconds that a fresh connection may keep others waiting for its first answer before another one is opened.
PATIENCE_S = 1.0


class Pool:
    """Connections to one APNs host; opens another only when those it has are full.

    Waiters are served in turn: the lock is the queue, and only its head looks for room.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext, max_connections: int) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._max_connections = max_connections
        self._connections: list[Connection] = []
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    async def acquire(self, size: int) -> Connection:
        """A connection with room for ``size`` bytes, to be written to before anything else is awaited.

        Raises:
            OSError: no connection could be made (TimeoutError and TLS errors among them).
        """
        if not self._turn.locked() and (ready := self._with_room(size)):
            return ready
        async with self._turn:
            impatient = False
            while True:
                self._changed.clear()
                if ready := self._with_room(size):
                    return ready
                if self._may_open(impatient):
                    await self._connect()
                else:
                    impatient = not await self._change_within(PATIENCE_S)

    def _discard(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
        self._changed.set()

    async def close(self) -> None:
        """Returns when every connection is gone; one that doesn't say goodbye in time is cut."""
        connections = list(self._connections)
        for connection in connections:
            connection.close()
        try:
            async with asyncio.timeout(GOODBYE_S):
                for connection in connections:
                    await connection.closed.wait()
        except TimeoutError:
            for connection in connections:
                connection.transport.abort()

    def _with_room(self, size: int) -> Connection | None:
        return next((one for one in self._connections if one.has_room(size)), None)

    def _may_open(self, impatient: bool) -> bool:
        live = [one for one in self._connections if not one.draining]
        return len(live) < self._max_connections and (impatient or all(one.proven for one in live))

    async def _connect(self) -> None:
        build, loop = partial(Connection, self._changed.set, self._discard), asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_S):
            _, connection = await loop.create_connection(build, self._host, self._port, ssl=self._tls)
        if connection.draining:
            raise ConnectionResetError("closed as soon as it stood")
        self._connections.append(connection)

    async def _change_within(self, wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True
