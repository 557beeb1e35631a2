"""The policy's limits of a channel's providers and its plans to warm up domains, obeyed by every worker of the channel
for its part."""

from collections.abc import Callable, Iterable

from app.domain.policy import ProviderChoice
from app.providers.gate import Gate


class Limits:
    """Keeps the gates at what the policy in force allows. A limit is the provider's as a whole: a worker that owns k of
    n partitions takes k/n of it."""

    def __init__(self, gates: Iterable[Gate], partitions: int, clock: Callable[[], int]) -> None:
        """``partitions``: how many there are of each topic. ``clock``: Unix milliseconds."""
        self._gates = tuple(gates)
        self._partitions = partitions
        self._clock = clock
        self._owned = 0
        self._choice = ProviderChoice(())

    def take_over(self, choice: ProviderChoice) -> None:
        """What the policy in force says; a provider that it doesn't name has no limit."""
        self._choice = choice
        self._set()

    def look(self) -> None:
        """What a plan allows changes with time."""
        if self._choice.warm_up:
            self._set()

    def own(self, partitions: int) -> None:
        """How many partitions this worker has now."""
        self._owned = partitions
        self._set()

    def _set(self) -> None:
        if not self._owned:
            return  # nothing is called, and what is yet in flight was let in
        part = self._owned / self._partitions
        for gate in self._gates:
            limit = self._choice.limits.get(gate.provider)
            gate.limit(None if limit is None else limit.per_second * part)
            plan, now = self._choice.warm_up.get(gate.provider), self._clock()
            rate = None if plan is None else plan.per_second(now) * part
            # Who begins anew has what has grown of the running call, and so the next one when it would have been.
            gate.warm_up(rate, 0.0 if rate is None else now / 1000 * rate % 1)
