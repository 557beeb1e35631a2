"""What idle live inboxes cost: the memory of a gateway with very many streams, each of a user of its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

import jwt

from bench.figures import Figure, held
from bench.ground import Ground
from bench.run import Run
from bench.slowloris import allow_files
from bench.workload import user_id

NAME = "streams"
#: Of the process, all in all.
_MOST_MB = 500.0
_AT_ONCE = 100
#: So long they stay open before the memory is read: a heartbeat has gone out on each.
_IDLE_S = 25.0


async def measure(run: Run) -> None:
    streams = run.size(10_000, 2_000)
    allow_files(2 * streams)
    async with Ground(run, NAME) as ground:
        await ground.start_ready("in_app")
        gateway = await ground.start_gateway()
        empty_mb, state = gateway.rss_mb(), ground.system.state
        async with _opened(state.gateway_url, state.jwt_secret, streams) as took_s:
            before_s = gateway.cpu_s()
            await asyncio.sleep(_IDLE_S)
            idle_mb, cpu_s = gateway.rss_mb(), gateway.cpu_s() - before_s
    case = f"{streams:,} idle streams"
    detail = {"opened_in_s": round(took_s, 1), "before_mb": round(empty_mb, 1)}
    rss = Figure(benchmark=NAME, case=case, name="rss", value=idle_mb, unit="MB", detail=detail)
    each = Figure(benchmark=NAME, case=case, name="of each", value=1024 * (idle_mb - empty_mb) / streams, unit="KB")
    cpu = Figure(benchmark=NAME, case=case, name="cpu", value=100 * cpu_s / _IDLE_S, unit="%")
    run.tell("streams: a gateway's idle live inboxes", [held(rss, at_most=_MOST_MB), each, cpu])


@asynccontextmanager
async def _opened(url: str, secret: str, streams: int) -> AsyncIterator[float]:
    """All of them, each after its first event; the seconds that took."""
    begun, room = time.monotonic(), asyncio.Semaphore(_AT_ONCE)
    async with AsyncExitStack() as stack:

        async def open_one(number: int) -> None:
            async with room:
                stack.callback((await opened_stream(url, secret, user_id(number)))[1].close)

        async with asyncio.TaskGroup() as opening:
            for number in range(streams):
                opening.create_task(open_one(number))
        yield time.monotonic() - begun


async def opened_stream(url: str, secret: str, user: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """After its first event. Raises RuntimeError where it doesn't begin with the counts."""
    where = urlsplit(url)
    token = jwt.encode({"sub": user, "exp": int(time.time()) + 3600}, secret, algorithm="HS256")
    reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=1024)
    asked = (
        f"GET /v1/users/{user}/inbox/stream HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    writer.write(asked.encode())
    status = await reader.readline()
    if b" 200 " not in status:
        raise RuntimeError(f"the gateway answered {status.decode().strip()}")
    async with asyncio.timeout(60):
        while b"event: count" not in await reader.readline():
            pass
    return reader, writer
