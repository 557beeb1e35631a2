"""backlog: how many sends of a channel's role wait to be tried again, and how many are in doubt, by provider."""

from typing import cast

from msgspec import Struct

from schemas.words import Provider
from tables.table import Table, TableSpec


class Waiting(Struct, frozen=True, array_like=True):
    count: int


BACKLOG: TableSpec[Waiting] = TableSpec("backlog", Waiting)


#: Begins the rows that count doubts; the others, behind them, are named by their provider alone.
_DOUBTS, _NAMES = b"\1", b"\2"


class Backlog(Table[Waiting]):
    def waiting(self) -> dict[str, int]:
        """By provider; those for whom nothing waits aren't named."""
        return {key.decode(): row.count for key, row in self.scan(_NAMES, None)}

    def add(self, provider: Provider, count: int) -> None:
        """``count``: 1 for a send that begins to wait, -1 for one that doesn't any more."""
        self._add(provider.encode(), count)

    def doubts(self) -> dict[Provider, int]:
        """The sends in doubt by provider; those without any aren't named."""
        return {cast(Provider, key[1:].decode()): row.count for key, row in self.scan(_DOUBTS, _NAMES)}

    def add_doubts(self, provider: Provider, count: int) -> None:
        """``count``: 1 for a send that is in doubt from now on, -1 for one that isn't any more."""
        self._add(_DOUBTS + provider.encode(), count)

    def _add(self, key: bytes, count: int) -> None:
        row = self.get(key)
        now = (row.count if row is not None else 0) + count
        if now > 0:
            self.put(key, Waiting(now))
        else:
            self.delete(key)
