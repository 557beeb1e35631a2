"""Counts sends in doubt, and what settled those that no longer are, for metrics."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Literal, Protocol

from app.ports import NotOwned, StateReads
from schemas.words import Provider

_MEASURE_S = 1.0

#: ``receipt``: something came back of the send · ``found``: asked, the provider knew it · ``answer``: the call's own
#: answer came after all, here or with a former owner of the partition · ``resent``: sent once more · ``given_up``: it
#: ended as ``unknown``.
How = Literal["receipt", "found", "answer", "resent", "given_up"]
HOWS: tuple[How, ...] = ("receipt", "found", "answer", "resent", "given_up")

#: Called with each doubt that is settled.
Settled = Callable[[Provider, How], None]

#: Called with the provider, how many of its sends are in doubt, and since when the oldest is (Unix ms; None: none is).
OnDoubts = Callable[[str, int, int | None], None]


class Doubting(StateReads, Protocol):
    """A channel's worker, as far as its doubts are concerned."""

    @property
    def owned(self) -> frozenset[int]: ...


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
