"""The policy's limits of a channel's providers, obeyed by every worker of the channel for its part."""

from collections.abc import Iterable, Mapping

from app.domain.policy import Rate
from app.providers.gate import Gate
from schemas.words import Provider


class Limits:
    """Keeps the gates at what the policy in force allows. A limit is the provider's as a whole: a worker that owns k of
    n partitions takes k/n of it."""

    def __init__(self, gates: Iterable[Gate], partitions: int) -> None:
        """``partitions``: how many there are of each topic."""
        self._gates = tuple(gates)
        self._partitions = partitions
        self._owned = 0
        self._limits: Mapping[Provider, Rate] = {}

    def take_over(self, limits: Mapping[Provider, Rate]) -> None:
        """What the policy in force says; a provider that it doesn't name has no limit."""
        self._limits = limits
        self._set()

    def own(self, partitions: int) -> None:
        """How many partitions this worker has now."""
        self._owned = partitions
        self._set()

    def _set(self) -> None:
        if not self._owned:
            return  # nothing is called, and what is yet in flight was let in
        for gate in self._gates:
            limit = self._limits.get(gate.provider)
            gate.limit(None if limit is None else limit.per_second * self._owned / self._partitions)
