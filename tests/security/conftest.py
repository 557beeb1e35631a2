"""The gateway's door without what lies behind it: its own server, with a log that takes everything and an owner that
knows nobody. What needs the whole system is tested in tests/integration/gateway."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from app.api.call import Deps
from app.api.callers import Callers, SharedSecret
from app.api.code_limits import CodeLimits, Codes
from app.api.connections import ConnectionLimits, Connections, connection_factory
from app.api.limits import Limits
from app.api.live import Live
from app.api.pages import Pages
from app.api.refusals import UNCOUNTED, Counting
from app.api.room import DEFAULT_LIMIT, Room, Size
from app.api.server import create_app
from app.config import ApiKey, Branding, Jwt, Verify
from app.domain.catalog import Catalog
from app.domain.policy import parse_policy
from app.store.erased import ErasedUsers
from app.store.publisher import Outgoing
from tests.auditing import EnteredLog
from tests.calling import JWT_SECRET, bearer, called, key_hash
from tests.key_topic import KeyTopic
from tests.links import LINKS, KeptReports
from tests.live import live_of

POLICY = """
categories:
  other: {channels: [in_app]}
"""


class Log:
    """Takes records, once it is let."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.waiting = 0
        self.open = asyncio.Event()
        self.open.set()

    async def publish_many(self, records: Iterable[Outgoing]) -> list[tuple[int, int]]:
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        self.records.extend(records)
        return [(0, len(self.records)) for _ in records]

    async def publish_each(self, records: Iterable[Outgoing]) -> list[tuple[int, int] | None]:
        return [*await self.publish_many(records)]

    async def publish(self, topic: str, key: bytes | None, value: bytes | None, **_: Any) -> tuple[int, int]:
        [position] = await self.publish_many([Outgoing(topic, key, value)])
        return position


class Nobody:
    """An owner, and a history, that know nothing."""

    async def read(self, *_: Any, **__: Any) -> None:
        return None

    async def read_partition(self, *_: Any, **__: Any) -> None:
        return None

    async def status(self, *_: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Config:
    catalog: Catalog = field(default_factory=lambda: Catalog(parse_policy(POLICY), 1, {}))


def api_key(whole: str, **fields: Any) -> ApiKey:
    name = whole.partition(".")[0]
    return ApiKey.model_validate(
        {"id": name, "sha256": key_hash(whole), "source": name, "scopes": ["send", "read"], **fields}
    )


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    text: str


@dataclass(slots=True)
class Door:
    """A served door, and a way to call it."""

    session: aiohttp.ClientSession
    host: str
    port: int
    log: Log
    connections: Connections

    async def call(
        self, method: str, path: str, body: bytes | None = None, *, key: str | None = None, **headers: str
    ) -> Reply:
        given = headers | (bearer(key) if key is not None else {})
        async with called(self.session, method, f"http://{self.host}:{self.port}{path}", body, given) as response:
            return Reply(response.status, dict(response.headers), await response.text())

    @asynccontextmanager
    async def raw(self, sent: bytes = b"") -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection on which so much was sent."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(sent)
        await writer.drain()
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def some_deps(
    live: Live,
    owner: Any,
    *,
    keys: Iterable[ApiKey] = (),
    publisher: Any = None,
    history: Any = None,
    room: Size = DEFAULT_LIMIT,
    rate: float = 5000.0,
    counting: Counting = UNCOUNTED,
    origins: Iterable[str] = ("https://app.example",),
) -> Deps:
    """Of a gateway that reaches nothing else."""
    keys_made = KeyTopic().writer()
    tokens = Jwt.model_validate({"secret": JWT_SECRET})
    return Deps(
        callers=Callers(keys, tokens, SharedSecret(JWT_SECRET), made=keys_made.states, uses=keys_made.uses),
        publisher=publisher,
        config=cast(Any, Config()),
        writer=cast(Any, None),
        owners=cast(Any, None),
        owner=owner,
        history=history,
        queries=cast(Any, None),
        dead=cast(Any, None),
        redriver=cast(Any, None),
        audit_log=cast(Any, EnteredLog()),
        providers=cast(Any, None),
        hooks=cast(Any, None),
        keys=keys_made,
        sealing=b"",
        pausing=cast(Any, None),
        replays=cast(Any, None),
        campaigns=cast(Any, None),
        erased=ErasedUsers(),
        retentions={},
        partitions=4,
        clock=lambda: time.time_ns() // 1_000_000,
        new_id=lambda: "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e",
        limits=Limits(Room(room), rate, lambda: 0.0),  # no bucket is filled again meanwhile
        codes=Codes(JWT_SECRET.encode(), CodeLimits(Verify(), lambda: 0.0)),
        streams=live.streams,
        tickets=live.tickets,
        pages=Pages(Branding()),
        reporter=KeptReports(),
        links=LINKS,
        cors_origins=frozenset(origins),
        counting=counting,
    )


Opening = Callable[..., contextlib.AbstractAsyncContextManager[Door]]


@asynccontextmanager
async def opened(
    *keys: ApiKey,
    limits: ConnectionLimits | None = None,
    room: Size = DEFAULT_LIMIT,
    rate: float = 5000.0,
    owner: Any = None,
    longest_s: float = 0.5,
    counting: Counting = UNCOUNTED,
) -> AsyncIterator[Door]:
    log, nobody = Log(), Nobody()
    live, _ = live_of(owner or nobody, lambda: time.time_ns() // 1_000_000, longest_s=longest_s)
    deps = some_deps(
        live, owner or nobody, keys=keys, publisher=log, history=nobody, room=room, rate=rate, counting=counting
    )
    runner = web.AppRunner(create_app(deps))
    await runner.setup()
    assert runner.server is not None
    connections = Connections(limits or ConnectionLimits(), counting)
    factory = connection_factory(runner.server, connections)
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    sweeping = asyncio.create_task(connections.keep_swept(0.01))
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            yield Door(session, "127.0.0.1", server.sockets[0].getsockname()[1], log, connections)
    finally:
        log.open.set()
        sweeping.cancel()
        server.close()
        await runner.cleanup()


@pytest.fixture
def open_door() -> Opening:
    return opened
