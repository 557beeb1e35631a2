"""Runs the checks, one after the other; one that can't be made says why, and the others go on."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import structlog
from aiokafka.errors import KafkaError

from app.audit.balance import BalanceTerms, check_balance
from app.audit.decisions import DecisionTerms, check_decisions
from app.audit.findings import CHECKS, Check, Finding, Progress
from app.audit.scratch import Scratch
from app.audit.sink import SinkTerms, check_sink
from app.audit.state import StateTerms, check_state
from app.audit.stored import StoredStates
from app.config import Settings
from app.domain.catalog import Catalog
from app.scratch import scratch_folder
from app.store.owner_client import OwnerClient, StateReader
from app.store.owners import OwnersFollower
from app.store.queries import Queries, QueryRefused, Unavailable
from app.streaming.views import AUDIT

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
    #: The machines, under a catalog, of the roles whose decisions can be made again.
    machines: Mapping[str, Callable[[Catalog], Any]] = field(default_factory=dict)


#: The progress of a check.
Begin = Callable[[Check], Progress]


async def audit(asked: Audit, begin: Begin) -> list[Finding]:
    """A finding for each check that was asked for, in their order."""
    checks: dict[Check, Callable[[Audit, Progress], Awaitable[Finding]]] = {
        "balance": _balance,
        "state": _state,
        "decisions": _decisions,
        "sink": _sink,
    }
    if "decisions" in asked.checks:
        await _made("decisions", _store_states(asked))  # so that something is decided meanwhile, even the first time
    findings = []
    for check in CHECKS:
        if check in asked.checks:
            finding = await _made(check, checks[check](asked, begin(check)))
            assert finding is not None
            findings.append(finding)
    return findings


async def _made(check: Check, making: Awaitable[Finding | None]) -> Finding | None:
    """What a check found, or why it can't be made."""
    try:
        try:
            return await making
        except ExceptionGroup as several:  # of partitions that were worked on at the same time
            raise several.exceptions[0] from None
    except (KafkaError, LookupError, QueryRefused, Unavailable, OSError, TimeoutError) as error:
        if isinstance(error, (KeyError, IndexError)):
            raise  # a bug; a topic that is missing is a LookupError
        return Finding(check, failed=_reason(error))


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
    with scratch_folder("audit") as folder:
        scratch = Scratch(folder / "balance")
        try:
            return await check_balance(settings.kafka.client_options(), terms, scratch, now_ms(), progress)
        finally:
            scratch.close()


async def _state(asked: Audit, progress: Progress) -> Finding:
    settings = asked.settings
    terms = StateTerms(asked.tables, settings.kafka.partitions, settings.data.erasure.settle.total_seconds())
    async with _owners(asked) as owners:
        with scratch_folder("audit") as folder:
            return await check_state(settings.kafka.client_options(), owners, terms, folder, progress)


@asynccontextmanager
async def _owners(asked: Audit) -> AsyncIterator[OwnerClient]:
    settings = asked.settings
    owners = OwnersFollower(settings.kafka.client_options(), asked.secret, now_ms, lambda why: None)
    try:
        async with asyncio.timeout(_FOLLOW_S):
            await owners.start()
        async with aiohttp.ClientSession() as session:
            reader = StateReader(session, asked.secret, now_ms, settings.operations.client_tls())
            yield OwnerClient(reader, owners, settings.kafka.partitions)
    finally:
        await owners.close()


def _stored_states(asked: Audit) -> StoredStates:
    settings = asked.settings
    keep_s = settings.data.erasure.abandon.total_seconds()
    return StoredStates(settings.data.dir / AUDIT, list(asked.machines), settings.kafka.partitions, keep_s)


async def _store_states(asked: Audit) -> None:
    """Copies of those partitions that have none, or an old one."""
    states = _stored_states(asked)
    states.remove_old(now_ms())
    if missing := states.missing():
        async with _owners(asked) as owners:
            await states.store(asked.settings.kafka.client_options(), owners, missing)


async def _decisions(asked: Audit, progress: Progress) -> Finding:
    """Decides again from the stored states, then stores new ones for the next audit."""
    settings, states = asked.settings, _stored_states(asked)
    options = settings.kafka.client_options()
    terms = DecisionTerms(asked.machines, settings.bounds, settings.kafka.partitions)
    with scratch_folder("audit") as folder:
        scratch = Scratch(folder / "decisions")
        try:
            with states.opened() as opened:
                finding = await check_decisions(options, terms, opened, scratch, progress)
        finally:
            scratch.close()
    finding.not_covered["roles whose decisions follow from providers' answers"] += len(asked.tables) - len(
        asked.machines
    )
    await _made("decisions", _store_states(asked))
    return finding


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
