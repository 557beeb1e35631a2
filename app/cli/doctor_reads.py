"""What ``tocsin doctor`` looks at between gateways and workers: the operations port, announcements, reads of state."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

import aiohttp
from aiokafka.errors import KafkaError

from app.cli.finding import Finding
from app.config import (
    BadCertificate,
    NoSecret,
    Operations,
    Settings,
    installation_secret,
    is_loopback,
    suppression_keys,
)
from app.store.announced import Refusal
from app.store.hooks import HooksFollower, HookStates, secrets_of
from app.store.owner_client import NotAnsweredError, StateReader
from app.store.owners import Owner, OwnersFollower
from app.store.provider_states import ProvidersFollower
from schemas.instants import rfc3339
from schemas.providers import ProviderPause

_LIMIT_S = 15.0
#: Nobody owns it, so that whoever is asked for it answers without looking at any user.
_NO_PARTITION = {"partition": "-1"}
_ANY_ADDRESS = ("0.0.0.0", "::", "")
_ONE_SECRET = "give all gateways and workers the same installation.secret"
_ACLS = "if they have it, somebody else writes to tocsin_owners: see `tocsin topics acl`"


def port(operations: Operations) -> Finding:
    """Whether what is read of users is kept from others on its way."""
    try:
        tls = operations.server_tls()
        operations.client_tls()
    except BadCertificate as error:
        return Finding("operations port", False, str(error), "correct the path, or the file")
    if operations.named in _ANY_ADDRESS:
        remedy = "set operations.advertised_host to the name by which gateways reach this machine"
        return Finding("operations port", None, f"announced as {operations.named or 'nothing'}", remedy)
    if tls is not None:
        return Finding("operations port", True, f"serves TLS as {operations.named}")
    if is_loopback(operations.host):
        return Finding("operations port", True, "serves this machine only")
    remedy = "set operations.cert_file, key_file and ca_file, or keep it within a network of your own"
    return Finding(
        "operations port", None, f"plain HTTP at {operations.host}: reads of users can be listened to", remedy
    )


async def reads(settings: Settings) -> list[Finding]:
    """Whether the running workers' announcements count, and whether they answer who has this secret."""
    try:
        secret = installation_secret(settings)
    except NoSecret:
        return [Finding("reads of users", None, "not known without the installation's secret", "see secret")]
    refused: Counter[Refusal] = Counter()
    owners = OwnersFollower(settings.kafka.client_options(), secret, _unix_ms, lambda why: refused.update([why]))
    if unknown := await _unknown("reads of users", owners):
        return unknown
    async with aiohttp.ClientSession() as session:
        reader = StateReader(session, secret, _unix_ms, settings.operations.client_tls())
        return [*announcements(refused), *await asked(reader, owners.everyone())]


class _Follower(Protocol):
    """What reads a topic to its end when it starts."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...


async def _unknown(what: str, follower: _Follower) -> list[Finding]:
    """Has the follower read its topic; a finding where that can't be read."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            await follower.start()
    except (KafkaError, LookupError, OSError, TimeoutError):
        return [Finding(what, None, "not known, as Kafka doesn't answer", "see kafka")]
    finally:
        await follower.close()
    return []


def announcements(refused: Mapping[Refusal, int]) -> list[Finding]:
    """What was announced in the last seconds and doesn't count."""
    remedies: Mapping[Refusal, tuple[str, str]] = {
        "untrusted": ("not signed with this installation's secret", f"{_ONE_SECRET}; {_ACLS}"),
        "ahead": ("of a time that is yet to come", "set the clocks of all machines by NTP"),
        "behind": ("more than 15 s old", "set the clocks of all machines by NTP"),
        "replayed": ("copies of older ones", "somebody else writes to tocsin_owners: see `tocsin topics acl`"),
        "unreadable": ("of another version", "finish the upgrade: docs/operating.md"),
    }
    return [
        Finding("announcements", False, f"{refused[why]} in tocsin_owners: {found}", remedy)
        for why, (found, remedy) in remedies.items()
        if refused.get(why)
    ]


async def paused(settings: Settings) -> list[Finding]:
    """The providers that are paused by hand: a pause has no end of its own."""
    try:
        states = ProvidersFollower(settings.kafka.client_options(), installation_secret(settings), _unix_ms)
    except NoSecret:
        return []  # (said already)
    return await _unknown("pauses", states) or pauses(states.pauses.values(), _unix_ms())


def pauses(found: Iterable[ProviderPause], now: int) -> list[Finding]:
    """``now``: Unix ms."""
    return [
        Finding(
            f"pause of {pause.provider}",
            None,
            f"since {rfc3339(pause.since)} ({_age(now - pause.since)}), by {pause.by or 'nobody named'}: {pause.why}",
            f"when it may be called again: `tocsin provider resume {pause.provider}`",
        )
        for pause in found
    ]


async def hooks(settings: Settings) -> list[Finding]:
    """The outbound webhooks that are disabled: somebody misses what happens."""
    try:
        states = HooksFollower(settings.kafka.client_options(), secrets_of(suppression_keys(settings)))
    except NoSecret:
        return []  # (said already)
    return await _unknown("hooks", states) or disabled_hooks(states)


def disabled_hooks(states: HookStates) -> list[Finding]:
    """A finding for each hook that nobody calls."""
    found = ((hook, states.disabled(hook.id)) for hook in states.all())
    return [
        Finding(
            f"hook {hook.id}",
            None,
            f"of {hook.source or 'no source'}, disabled since {rfc3339(disabled.at)}: {disabled.why}",
            f"when its receiver answers again: POST /v1/hooks/{hook.id}/enable (docs/hooks.md)",
        )
        for hook, disabled in found
        if disabled is not None
    ]


def _age(ms: int) -> str:
    minutes = max(0, ms) // 60_000
    days, hours = divmod(minutes // 60, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes % 60} min"


async def asked(reader: StateReader, owners: Iterable[Owner]) -> list[Finding]:
    """A finding for each worker: whether it answers, and takes us for one of its own."""
    findings = []
    for owner in owners:
        try:
            await reader.read(owner.url, "profile", _NO_PARTITION)
            findings.append(Finding(f"reads of {owner.name}", True, f"answered at {owner.url}"))
        except NotAnsweredError as error:
            remedy = f"{_ONE_SECRET}, and operations.ca_file where they serve TLS"
            findings.append(Finding(f"reads of {owner.name}", False, str(error), remedy))
    return findings or [Finding("reads of users", None, "no worker has announced itself", "start the roles")]


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
