"""The outbox in a service's own PostgreSQL: requests that were written in the transactions of which they are part."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self

import asyncpg

#: What a database may answer, or not answer, that is over in a while.
OUTAGE: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)

#: Users are spread over so many slots, each of which one relay works on at a time, so that a user's requests keep their
#: order however many relays run.
SLOTS = 32
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,50}(\.[a-z_][a-z0-9_]{0,50})?")
_COMMAND_S = 30.0
_PURGED_AT_ONCE = 10_000

_TABLE = """\
-- Tocsin's outbox: `INSERT INTO {table} (user_id, request) VALUES (…)` in the transaction that the notification is of.
CREATE TABLE IF NOT EXISTS {table} (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id         text NOT NULL,
    -- The request's other fields (docs/records.md#requests).
    request         jsonb NOT NULL,
    -- The same key again is the same notification.
    idempotency_key text NOT NULL DEFAULT gen_random_uuid()::text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    -- Set by the relay: when Kafka had it, or why it can't be taken.
    relayed_at      timestamptz,
    refused         text,
    slot            smallint GENERATED ALWAYS AS (hashtext(user_id) & {mask}) STORED
);
CREATE INDEX IF NOT EXISTS {index}_waiting ON {table} (slot, id) WHERE relayed_at IS NULL AND refused IS NULL;
CREATE INDEX IF NOT EXISTS {index}_relayed ON {table} (relayed_at) WHERE relayed_at IS NOT NULL;
-- A relay locks a slot while it works on its users.
CREATE TABLE IF NOT EXISTS {table}_slots (slot smallint PRIMARY KEY);
INSERT INTO {table}_slots SELECT generate_series(0, {mask}) ON CONFLICT DO NOTHING;
"""
_WAITING = "relayed_at IS NULL AND refused IS NULL"
#: PostgreSQL has what Python can't hold and nobody can count with: infinity, and years before the first.
_IS_INSTANT = "created_at BETWEEN '1970-01-01 00:00Z' AND '2200-01-01 00:00Z'"
_CLAIM = f"""
    SELECT s.slot FROM {{table}}_slots s
    WHERE EXISTS (SELECT FROM {{table}} o WHERE o.slot = s.slot AND {_WAITING})
    ORDER BY (SELECT min(id) FROM {{table}} o WHERE o.slot = s.slot AND {_WAITING})
    LIMIT 1 FOR UPDATE OF s SKIP LOCKED"""
_ROWS = f"""
    SELECT id, user_id, request::text AS request, idempotency_key,
        CASE WHEN {_IS_INSTANT} THEN created_at END AS created_at
    FROM {{table}}
    WHERE slot = $1 AND {_WAITING} ORDER BY id LIMIT $2"""
_RELAYED = "UPDATE {table} SET relayed_at = now() WHERE id = ANY($1::bigint[])"
_REFUSED = """
    UPDATE {table} AS o SET refused = r.why FROM unnest($1::bigint[], $2::text[]) AS r (id, why) WHERE o.id = r.id"""
_LAG = f"""
    SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at) FILTER (WHERE {_IS_INSTANT})), 0)::float8
    FROM {{table}} WHERE {_WAITING}"""
_PURGE = """
    DELETE FROM {table} WHERE id IN (
        SELECT id FROM {table} WHERE relayed_at < now() - make_interval(secs => $1) ORDER BY relayed_at LIMIT $2)"""


class OutboxRefused(Exception):
    """The database, or its table, can't be used as it is; says what to do, and nothing of the DSN."""


class BadTable(ValueError):
    """The name of a table that can't be one."""


def table_ddl(table: str) -> str:
    """The statements that make the outbox; again, they change nothing. Raises BadTable."""
    if not _NAME.fullmatch(table):
        raise BadTable("use small letters, digits and _ (and a schema before a dot)")
    return _TABLE.format(table=table, index=table.rpartition(".")[2], mask=SLOTS - 1)


class OutboxRow(NamedTuple):
    """A request that waits. ``request``: JSON; ``created_at``: None where it is before 1970 or after 2200."""

    id: int
    user_id: str
    request: str
    idempotency_key: str
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class Lag:
    """How many rows wait, and for how long the oldest has."""

    waiting: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Claim:
    """Rows of one slot, locked. ``slot`` None: none has any, or all that have some are being worked on."""

    connection: Any
    table: str
    slot: int | None
    rows: Sequence[OutboxRow]

    async def settle(self, relayed: Sequence[int], refused: Mapping[int, str]) -> None:
        if relayed:
            await self.connection.execute(_RELAYED.format(table=self.table), list(relayed))
        if refused:
            await self.connection.execute(_REFUSED.format(table=self.table), list(refused), list(refused.values()))


class Outbox:
    """One connection to the database. All methods raise ``OUTAGE``."""

    def __init__(self, connection: Any, table: str) -> None:
        table_ddl(table)
        self._connection = connection
        self._table = table

    @classmethod
    async def open(cls, dsn: str, table: str) -> Self:
        try:
            connection = await asyncpg.connect(
                dsn, timeout=10, command_timeout=_COMMAND_S, server_settings={"application_name": "tocsin outbox relay"}
            )
        except asyncpg.InvalidAuthorizationSpecificationError as error:
            raise OutboxRefused(f"the database refuses the user or the password ({type(error).__name__})") from None
        except asyncpg.InvalidCatalogNameError:
            raise OutboxRefused("there is no such database: correct --dsn") from None
        except (asyncpg.exceptions.ClientConfigurationError, ValueError):
            raise OutboxRefused("--dsn: must be such as postgresql://user@host/database") from None
        return cls(connection, table)

    async def close(self) -> None:
        await self._connection.close(timeout=5)

    @asynccontextmanager
    async def claimed(self, limit: int) -> AsyncIterator["Claim"]:
        """Some rows of one slot, which nobody else works on until the end. What is settled counts when it ends without
        an error; otherwise the rows wait as before."""
        async with self._connection.transaction():
            slot = await self._connection.fetchval(_CLAIM.format(table=self._table))
            # A new snapshot: what a relay before has committed is seen.
            query = _ROWS.format(table=self._table)
            found = [] if slot is None else await self._connection.fetch(query, slot, limit)
            yield Claim(self._connection, self._table, slot, [OutboxRow(*row) for row in found])

    async def lag(self) -> Lag:
        """Raises OutboxRefused where there is no such table, or the user may not read it."""
        try:
            count, oldest_s = await self._connection.fetchrow(_LAG.format(table=self._table))
        except asyncpg.UndefinedTableError:
            raise OutboxRefused(f"there is no table {self._table}: `tocsin outbox ddl` prints it") from None
        except asyncpg.InsufficientPrivilegeError:
            raise OutboxRefused(
                f"the user needs SELECT, UPDATE and DELETE on {self._table} and {self._table}_slots"
            ) from None
        return Lag(count, max(0.0, oldest_s))

    async def purge(self, kept_s: float) -> bool:
        """Deletes some of the rows that were relayed longer ago; whether there may be more."""
        deleted = await self._connection.execute(_PURGE.format(table=self._table), kept_s, _PURGED_AT_ONCE)
        return str(deleted) == f"DELETE {_PURGED_AT_ONCE}"
