"""Redacting: the rows of erased users in ClickHouse lose whatever came of the user, by finished mutations."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import structlog
from clickhouse_connect.driver import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from app.ports import Publisher
from app.store.clickhouse import Unavailable
from app.store.erased import ErasedUsers
from app.store.publisher import PublishError
from app.store.sql import statement
from schemas.erasures import PARTITION, REDACT, REDACTED, Redacted, ToRedact, encode_erasure
from schemas.topics import ERASURES

log = structlog.get_logger(__name__)

_EVERY_S = 1.0
_PAUSE_S = 10.0
#: A mutation reads every part that may hold one of its users.
_USERS_AT_ONCE = 200


class Redactor:
    """Redacts each erased user twice: at once, and ``settle_s`` later, as another sink may have had rows in hand when
    the erasure came. Only then it reports that it is done.

    ``connect``: a client of its own, so that inserts go on meanwhile.
    """

    def __init__(
        self,
        users: ErasedUsers,
        connect: Callable[[], Awaitable[AsyncClient]],
        publisher: Publisher,
        *,
        instance: str,
        settle_s: float,
        now_ms: Callable[[], int],
    ) -> None:
        self._users = users
        self._connect = connect
        self._publisher = publisher
        self._by = f"analytics-{instance}"
        self.settle_s = settle_s
        self._now_ms = now_ms
        #: When each erasure was redacted first, by the loop's time.
        self._first: dict[str, float] = {}
        self._client: AsyncClient | None = None

    async def run(self, stop: asyncio.Event) -> None:
        try:
            while not stop.is_set():
                pause = _EVERY_S
                try:
                    await self.step()
                except (Unavailable, ClickHouseError, PublishError) as error:
                    pause = _PAUSE_S
                    log.warning("can't redact erased users: retrying", again_in_s=pause, error=str(error)[:500])
                    await self._disconnect()
                except Exception:
                    pause = _PAUSE_S
                    log.exception("can't redact erased users: retrying", again_in_s=pause)
                    await self._disconnect()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)
        finally:
            await self._disconnect()

    async def step(self) -> None:
        """Redacts whom it is time for. Raises ClickHouseError, PublishError, Unavailable."""
        now = asyncio.get_running_loop().time()
        pending = dict(self._users.to_redact)
        self._first = {name: at for name, at in self._first.items() if name in pending}
        new = [name for name in pending if name not in self._first][:_USERS_AT_ONCE]
        again = [name for name, at in self._first.items() if now - at >= self.settle_s][:_USERS_AT_ONCE]
        if new:
            await self._redact({name: pending[name] for name in new})
            self._first |= dict.fromkeys(new, now)
        if again:
            await self._redact({name: pending[name] for name in again})
            for name in again:
                await self._report(name, pending[name])

    async def _redact(self, pending: Mapping[str, ToRedact]) -> None:
        if self._client is None:
            self._client = await self._connect()
        parameters: dict[str, str | int] = {}
        whose = []
        for number, user_id in enumerate(sorted({each.user_id for each in pending.values()})):
            parameters[f"user{number}"] = user_id
            until = self._users.until(user_id)
            clause = f"user_id = %(user{number})s"
            if until is not None:  # who began anew keeps what was recorded since
                parameters[f"until{number}"] = until
                clause = f"{clause} AND toUnixTimestamp64Milli(recorded_at) < %(until{number})s"
            whose.append(f"({clause})")
        condition = " OR ".join(whose)
        if await self._client.command(statement("redact_left", whose=condition), parameters):
            await self._client.command(statement("redact", whose=condition), parameters)

    async def _report(self, erasure_id: str, whose: ToRedact) -> None:
        """The report first: without it the user's id, which is only there for this, stays."""
        done = Redacted(at=self._now_ms(), by=self._by, partition=whose.partition)
        name = erasure_id.encode()
        await self._publisher.publish(ERASURES, REDACTED + name, encode_erasure(done), partition=PARTITION)
        await self._publisher.publish(ERASURES, REDACT + name, None, partition=PARTITION)

    async def _disconnect(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()
