"""A gateway with a log in memory and one user's preferences, for calls of public links."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

from aiohttp.test_utils import TestClient, TestServer

from app.api.call import Deps
from app.api.callers import Callers
from app.api.code_limits import CodeLimits, Codes
from app.api.limits import Limits
from app.api.pages import Pages
from app.api.room import Room
from app.api.server import create_app
from app.config import ApiKey, Branding, Verify
from app.domain.catalog import Catalog
from app.domain.links import Links
from app.domain.policy import parse_policy
from app.store.erased import ErasedUsers
from schemas.receipts import Receipt
from tests.links import LINKS, KeptReports

SERVED_AT = 1_763_553_600_000
_KEY = "admin.secret"
POLICY = """
categories:
  security: {opt_out: never, channels: [push, sms, email]}
  marketing: {channels: [email, push], unsubscribe: one_click, name: "News <&>", description: "What's new"}
  social: {channels: [push, in_app], digest: daily}
  other: {channels: [in_app]}
digests: {daily: {window: 10m, template: summary}}
"""


@dataclass
class Served:
    """``log``: what was written: topic, key, value. ``document``: the user's preferences."""

    reporter: KeptReports = field(default_factory=KeptReports)
    log: list[tuple[str, bytes | None, bytes]] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)
    now: int = SERVED_AT
    client: TestClient[Any, Any] = None  # type: ignore[assignment]  # (set once it is served)
    erased: ErasedUsers = field(default_factory=ErasedUsers)
    #: Raised by whatever is asked, or by reads of what was written.
    fails: Exception | None = None
    fails_after_publish: Exception | None = None
    admin: Mapping[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {_KEY}"})

    @property
    def reports(self) -> list[Receipt]:
        return self.reporter.receipts

    async def publish(self, topic: str, key: bytes | None, value: bytes, **_: Any) -> tuple[int, int]:
        if self.fails is not None:
            raise self.fails
        self.log.append((topic, key, value))
        return 0, len(self.log)

    async def read(self, role: str, user_id: str, view: str, params: Mapping[str, str], after: Any = None) -> Any:
        error = self.fails if after is None else self.fails_after_publish
        if error is not None:
            raise error
        return self.document


@dataclass
class _Config:
    catalog: Catalog = field(default_factory=lambda: Catalog(parse_policy(POLICY), 1, {}))


@asynccontextmanager
async def served(links: Links | None = LINKS) -> AsyncIterator[Served]:
    gateway, nobody = Served(), cast(Any, None)
    sha256 = hashlib.sha256(_KEY.encode()).hexdigest()
    key = ApiKey(id="admin", sha256=sha256, source="shop", scopes=("admin",))
    numbers = count()
    deps = Deps(
        callers=Callers([key], None, None),
        publisher=cast(Any, gateway),
        config=cast(Any, _Config()),
        writer=nobody,
        owners=nobody,
        owner=cast(Any, gateway),
        history=nobody,
        queries=nobody,
        dead=nobody,
        redriver=nobody,
        audit_log=nobody,
        providers=nobody,
        pausing=nobody,
        hooks=nobody,
        keys=nobody,
        sealing=b"",
        replays=nobody,
        campaigns=nobody,
        streams=nobody,
        tickets=nobody,
        erased=gateway.erased,
        retentions={},
        partitions=1,
        clock=lambda: gateway.now,
        new_id=lambda: f"00000000-0000-4000-8000-{next(numbers):012x}",
        limits=Limits(Room(), 1e9, count().__next__),
        codes=Codes(b"s" * 32, CodeLimits(Verify(), count().__next__)),
        pages=Pages(Branding(name="Air")),
        reporter=gateway.reporter,
        links=links,
    )
    async with TestClient(TestServer(create_app(deps))) as client:
        gateway.client = client
        yield gateway
