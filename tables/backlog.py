"""backlog: how many sends of a channel's role wait to be tried again, by the provider that they wait for."""

from msgspec import Struct

from schemas.words import Provider
from tables.table import Table, TableSpec


class Waiting(Struct, frozen=True, array_like=True):
    count: int


BACKLOG: TableSpec[Waiting] = TableSpec("backlog", Waiting)


class Backlog(Table[Waiting]):
    def waiting(self) -> dict[str, int]:
        """By provider; those for whom nothing waits aren't named."""
        return {key.decode(): row.count for key, row in self.scan(b"", None)}

    def add(self, provider: Provider, count: int) -> None:
        """``count``: 1 for a send that begins to wait, -1 for one that doesn't any more."""
        key = provider.encode()
        row = self.get(key)
        now = (row.count if row is not None else 0) + count
        if now > 0:
            self.put(key, Waiting(now))
        else:
            self.delete(key)
