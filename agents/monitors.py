"""Loops that read a worker's tables again and again: for metrics, and for what is to be shed."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from math import ceil
from typing import Protocol

from agents.sender.shed import Shedding
from app.domain.policy import Policy
from app.ports import NotOwned, StateReads
from schemas.words import Provider

_MEASURE_S = 1.0
#: Who asks for a provider's state is told within a second of its change.
_LOOK_S = 0.2

#: Called with the provider, how many of its sends are in doubt, and since when the oldest is (Unix ms; None: none is).
OnDoubts = Callable[[str, int, int | None], None]


class Doubting(StateReads, Protocol):
    """A channel's worker, as far as its doubts are concerned."""

    @property
    def owned(self) -> frozenset[int]: ...


class Reporting(Protocol):
    """How a worker sees its providers."""

    def look(self) -> bool:
        """Whether anything has changed since the last look."""
        ...


async def watch_providers(providers: Reporting, changed: asyncio.Event) -> None:
    """Sets ``changed`` whenever there is news, until cancelled. A breaker opens and closes with a call, but what
    recovers has recovered when its time is over."""
    while True:
        if providers.look():
            changed.set()
        await asyncio.sleep(_LOOK_S)


async def watch_plans(look: Callable[[], None]) -> None:
    """What a plan allows changes with time: ``look`` is called again and again, until cancelled."""
    while True:
        look()
        await asyncio.sleep(_MEASURE_S)


async def watch_doubts(worker: Doubting, providers: Collection[str], on_doubts: OnDoubts) -> None:
    """Reads the rows again and again, until cancelled. ``providers``: those that are always named."""
    named = set(providers)
    while True:
        counts, oldest = await _doubts(worker)
        named |= counts.keys()
        for provider in named:
            on_doubts(provider, counts[provider], oldest.get(provider))
        await asyncio.sleep(_MEASURE_S)


async def _doubts(worker: Doubting) -> tuple[Counter[str], dict[str, int]]:
    counts: Counter[str] = Counter()
    oldest: dict[str, int] = {}
    for partition in worker.owned:
        try:
            found: Mapping[str, tuple[int, int | None]] = await worker.read(
                partition, "doubts", "", {}, None, _MEASURE_S
            )
        except (NotOwned, TimeoutError):
            continue  # it was just taken away, or is being restored
        for provider, (count, since) in found.items():
            counts[provider] += count
            if since is not None:
                oldest[provider] = min(since, oldest.get(provider, since))
    return counts, oldest


class Queued(StateReads, Protocol):
    """A channel's worker, as far as its sends that wait are concerned."""

    @property
    def owned(self) -> frozenset[int]: ...

    def unread(self) -> int:
        """The sends in the partitions owned that nobody has looked at yet."""
        ...


async def watch_backlog(
    shedding: Shedding,
    worker: Queued,
    policy: Callable[[], Policy],
    providers: Collection[Provider],
    partitions: int,
    on_backlog: Callable[[Provider, int], None],
) -> None:
    """Measures again and again, until cancelled.

    ``policy``: the one in force. ``partitions``: how many there are; a limit is the provider's as a whole, so a worker
    takes the part of it that it has of them. ``on_backlog`` is told each backlog.
    """
    while True:
        owned = worker.owned
        backlog = await _backlog(worker, owned, providers)
        for provider, count in backlog.items():
            on_backlog(provider, count)
        limits = policy().shed_backlog
        share = len(owned) / partitions
        shedding.measure(backlog, {p: ceil(limits[p] * share) for p in providers if p in limits})
        await asyncio.sleep(_MEASURE_S)


async def _backlog(worker: Queued, owned: Collection[int], providers: Collection[Provider]) -> dict[Provider, int]:
    """Whom a send goes to is known when it is looked at: one that wasn't yet counts for each provider of the
    channel."""
    waiting: Counter[str] = Counter()
    for partition in owned:
        try:
            waiting.update(await worker.read(partition, "backlog", "", {}, None, _MEASURE_S))
        except (NotOwned, TimeoutError):
            continue  # it was just taken away, or is being restored
    unread = worker.unread()
    return {provider: unread + waiting[provider] for provider in providers}
