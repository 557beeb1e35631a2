"""The connections to one APNs host: who waits for room on them, and when another is opened."""

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from functools import partial

from app.providers.apns_http2 import Answer, Connection, Lost, NotSent, Request
from app.providers.wire import CONNECT_S

#: Seconds to wait for the other side's goodbye.
GOODBYE_S = 1.0
#: Seconds that a fresh connection may keep others waiting for its first answer before another one is opened.
PATIENCE_S = 1.0


class Pool:
    """Writes requests in the order in which they came; opens another connection only when those it has are full."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext, max_connections: int) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._max_connections = max_connections
        self._connections: list[Connection] = []
        self._queue: deque[Request] = deque()
        self._connecting: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None

    async def send(self, headers: Sequence[tuple[str, str]], body: bytes, deadline: float) -> Answer:
        """Writes one request once, and waits for its answer until ``deadline`` (loop time)."""
        request = Request(headers, body, asyncio.get_running_loop().create_future())
        self._queue.append(request)
        self._serve()
        timed_out = False
        try:
            async with asyncio.timeout_at(deadline):
                return await request.answer
        except TimeoutError:
            timed_out = True
            if request.answer.done() and not request.answer.cancelled():
                return request.answer.result()  # it came as the time ran out
            return Lost("timeout") if request.connection else NotSent("TimeoutError")
        finally:
            if request.connection:
                request.connection.forget(request, silent=timed_out)

    async def close(self) -> None:
        """Returns when every connection is gone; one that doesn't say goodbye in time is cut."""
        if self._connecting is not None:
            self._connecting.cancel()
        self._refuse("closed")
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

    def _serve(self, *, impatient: bool = False) -> None:
        """Writes what there is room for; called whenever something changed."""
        while self._queue:
            if self._queue[0].answer.done():  # cancelled, or out of time
                self._queue.popleft()
            elif connection := self._with_room(len(self._queue[0].body)):
                connection.write(self._queue.popleft())
            else:
                self._want_another(impatient)
                return

    def _with_room(self, size: int) -> Connection | None:
        return next((one for one in self._connections if one.has_room(size)), None)

    def _want_another(self, impatient: bool) -> None:
        live = [one for one in self._connections if not one.draining]
        if self._connecting is not None or len(live) >= self._max_connections:
            return
        if impatient or all(one.proven for one in live):
            self._connecting = asyncio.create_task(self._connect())
        elif self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(PATIENCE_S, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        self._serve(impatient=True)

    async def _connect(self) -> None:
        build, loop = partial(Connection, self._serve, self._discard), asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await loop.create_connection(build, self._host, self._port, ssl=self._tls)
        except (OSError, ValueError) as error:  # ValueError: a host that is no name
            self._refuse(type(error).__name__)
        else:
            if not connection.draining:
                self._connections.append(connection)
        finally:
            self._connecting = None
        self._serve()

    def _refuse(self, why: str) -> None:
        """Nobody who waits now will be written."""
        while self._queue:
            self._queue.popleft().resolve(NotSent(why))

    def _discard(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
        self._serve()
