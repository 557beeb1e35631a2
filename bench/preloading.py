"""What lies in Kafka before a benchmark begins: the policy, and the users, as the changelogs of the roles' tables."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from app.domain.out import Produce
from app.wiring import internal_tables
from bench.ground import Ground
from bench.workload import Workload, config_records, rows_of_users
from schemas.topics import changelog_topic

_AT_ONCE = 1_000

#: By partition and table: rows.
Rows = dict[int, dict[str, dict[bytes, bytes]]]


@dataclass(frozen=True, slots=True)
class Changelogs:
    """Where rows go: to each table that the role has. ``topic``: the changelog of a table, else the role's own."""

    role: str
    topic: Callable[[str], str] | None = None

    def records(self, rows: Rows) -> Iterator[Produce]:
        topic_of = self.topic or partial(changelog_topic, self.role)
        known = frozenset(internal_tables()[self.role])
        for partition, tables in rows.items():
            for table in known.intersection(tables):
                topic = topic_of(table)
                for key, value in tables[table].items():
                    yield Produce(topic, key, value, partition)


async def preload_users(ground: Ground, load: Workload, changelogs: Sequence[Changelogs]) -> None:
    """The policy in force, and every user with all that is known and counted of them."""
    await preload_rows(ground, load, changelogs, _rows(load), load.users)


async def preload_rows(
    ground: Ground, load: Workload, changelogs: Sequence[Changelogs], rows: Iterable[Rows], users: int
) -> None:
    """``rows``: of some users at a time. Every partition of a user's table holds its own."""
    await ground.produce(config_records(load.now_ms), "policy", 2)
    if not changelogs:
        return
    task = ground.progress.add_task("  users", total=users)
    for some in rows:
        for logs in changelogs:
            await ground.append(list(logs.records(some)))
        ground.progress.advance(task, min(_AT_ONCE, users))
    ground.progress.remove_task(task)


def _rows(load: Workload) -> Iterator[Rows]:
    for first in range(0, load.users, _AT_ONCE):
        yield rows_of_users(load, first, min(load.users, first + _AT_ONCE))
