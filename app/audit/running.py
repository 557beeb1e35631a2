"""Runs the checks, one after the other; one that can't be made says why, and the others go on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
import structlog
from aiokafka.errors import KafkaError

from app.audit.balance import BalanceTerms, check_balance
from app.audit.findings import CHECKS, Check, Finding, Progress
from app.audit.scratch import Scratch, scratch_folder
from app.audit.sink import SinkTerms, check_sink
from app.audit.state import StateTerms, check_state
from app.config import Settings
from app.store.owner_client import OwnerClient, StateReader
from app.store.owners import OwnersFollower
from app.store.queries import Queries, QueryRefused, Unavailable

log = structlog.get_logger(__name__)

#: Until it is known who owns what.
_FOLLOW_S = 30.0


@dataclass(frozen=True, slots=True)
class Audit:
    """What is asked. Times are Unix ms; ``from_ms`` None: from the beginning of what is kept; ``to_ms`` isn't in it."""

    settings: Settings
    secret: bytes = field(repr=False)
    from_ms: int | None
    to_ms: int
    open_ms: int
    checks: Sequence[Check] = CHECKS
    #: The tables of each role that keeps some.
    tables: Mapping[str, Sequence[str]] = field(default_factory=dict)


#: The progress of a check.
Begin = Callable[[Check], Progress]


async def audit(asked: Audit, begin: Begin) -> list[Finding]:
    """A finding for each check that was asked for, in their order."""
    checks: dict[Check, Callable[[Audit, Progress], Awaitable[Finding]]] = {
        "balance": _balance,
        "state": _state,
        "sink": _sink,
    }
    findings = []
    for check in CHECKS:
        if check in asked.checks and check in checks:
            progress = begin(check)
            try:
                findings.append(await checks[check](asked, progress))
            except (KafkaError, LookupError, QueryRefused, Unavailable, OSError, TimeoutError) as error:
                if isinstance(error, (KeyError, IndexError)):
                    raise  # a bug; a topic that is missing is a LookupError
                findings.append(Finding(check, failed=_reason(error)))
    return findings


def _reason(error: Exception) -> str:
    words = str(error)
    return f"{type(error).__name__}: {words}" if isinstance(error, (KafkaError, OSError)) or not words else words


async def _balance(asked: Audit, progress: Progress) -> Finding:
    settings = asked.settings
    terms = BalanceTerms(
        settings.kafka.partitions,
        asked.from_ms,
        asked.to_ms,
        asked.open_ms,
        asked.secret,
        settings.bounds.link_schemes,
    )
    with scratch_folder() as folder:
        scratch = Scratch(folder / "balance")
        try:
            return await check_balance(settings.kafka.client_options(), terms, scratch, now_ms(), progress)
        finally:
            scratch.close()


async def _state(asked: Audit, progress: Progress) -> Finding:
    settings, options = asked.settings, asked.settings.kafka.client_options()
    terms = StateTerms(asked.tables, settings.kafka.partitions, settings.data.erasure.settle.total_seconds())
    owners = OwnersFollower(options, asked.secret, now_ms, lambda why: None)
    try:
        async with asyncio.timeout(_FOLLOW_S):
            await owners.start()
        async with aiohttp.ClientSession() as session:
            reader = StateReader(session, asked.secret, now_ms, settings.operations.client_tls())
            client = OwnerClient(reader, owners, settings.kafka.partitions)
            with scratch_folder() as folder:
                return await check_state(options, client, terms, folder, progress)
    finally:
        await owners.close()


async def _sink(asked: Audit, progress: Progress) -> Finding:
    settings = asked.settings
    terms = SinkTerms(settings.kafka.partitions, asked.from_ms, asked.to_ms, settings.clickhouse.retention_days)
    queries = Queries(settings)
    try:
        return await check_sink(settings.kafka.client_options(), queries, terms, progress)
    finally:
        await queries.close()


def now_ms() -> int:
    return time.time_ns() // 1_000_000
