"""Sheds sends of low priority when a provider's backlog exceeds what the policy allows."""

from collections.abc import Callable, Mapping

from schemas.words import Provider

#: Shedding is said to be over when the backlog is down to this part of its limit: it hovers about the limit meanwhile.
_OVER_AT = 0.9

#: Told the provider, its backlog and limit in this worker, and whether low sends are given up from now on.
OnChange = Callable[[Provider, int, int, bool], None]


class Shedding:
    """What one worker sheds. A backlog is measured now and then, and until the next time no more sends are given up
    than it was over its limit."""

    def __init__(
        self,
        on_change: OnChange = lambda provider, backlog, limit, begins: None,
        on_shed: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_change = on_change
        self._on_shed = on_shed
        self._excess: dict[Provider, int] = {}
        self._active: set[Provider] = set()

    def measure(self, backlog: Mapping[Provider, int], limits: Mapping[Provider, int]) -> None:
        """``backlog``: the sends that wait for each provider here; ``limits``: how many may, before low ones are
        shed."""
        self._excess = {p: over for p, limit in limits.items() if (over := backlog.get(p, 0) - limit) > 0}
        for provider in self._excess.keys() - self._active:
            self._active.add(provider)
            self._on_change(provider, backlog[provider], limits[provider], True)
        for provider in self._active - self._excess.keys():
            waits, limit = backlog.get(provider, 0), limits.get(provider)
            if limit is None or waits <= limit * _OVER_AT:
                self._active.discard(provider)
                self._on_change(provider, waits, limit or 0, False)

    def take(self, provider: Provider) -> bool:
        """Whether one more low send for the provider is to be given up; then it is counted as given up."""
        left = self._excess.get(provider, 0)
        if left > 0:
            self._excess[provider] = left - 1
        return left > 0

    def note(self) -> None:
        """A send was shed, by its age or by the backlog."""
        self._on_shed()
