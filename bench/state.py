"""What a decision costs with more users: the same requests, at random among all of them."""

import shutil
from collections.abc import Iterator

from app.domain.partition import partition_of
from bench.figures import Figure, compared
from bench.ground import Ground
from bench.preloading import Changelogs, Rows, preload_rows
from bench.routing import drain_by_routers
from bench.run import Run
from bench.workload import Workload, requests, rows_of_users, unix_ms, user_id

NAME = "state"
_PATTERNS = 1_000
_KEPT = ("profiles", "preferences", "windows")
_LONG, _SHORT = (10_000, 100_000, 1_000_000), (1_000, 10_000)
#: Takes as long as all other benchmarks together, and is only measured where this one is asked for by its name.
_CROWD = 10_000_000
#: What a user takes on disk at most, changelogs and stores together, while both are being compacted.
_USER_BYTES = 6_000


async def measure(run: Run) -> None:
    base: dict[str, Figure] = {}
    crowd = (_CROWD,) if run.only and not run.short and _has_room(run, _CROWD) else ()
    for users in _SHORT if run.short else (*_LONG, *crowd):
        async with Ground(run, NAME) as ground:
            load = Workload(users=users, events=run.size(60_000, 6_000), partitions=ground.partitions, now_ms=unix_ms())
            await preload_rows(ground, load, (Changelogs("router"),), alike(load), users)
            await ground.produce(requests(load), "requests", load.events)
            case = f"{users:,} users"
            figures = (await drain_by_routers(ground, load.events, case)).figures(NAME, case)
            told = [compared(figure, base.get(name)) for name, figure in figures.items()]
            base = base or figures
            run.tell(f"state: {case}", told)


def _has_room(run: Run, users: int) -> bool:
    """Whether the disk has room for so many users; says so if it hasn't."""
    run.folder.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(run.folder).free, users * _USER_BYTES
    if free < needed:
        run.console.print(
            f"state: {users:,} users take {needed / 1e9:.0f} GB of disk, {free / 1e9:.0f} are free: left out"
        )
    return free >= needed


def alike(load: Workload) -> Iterator[Rows]:
    """The rows of all users, a thousand at a time: the first thousand as the machine makes them, the others as theirs.

    Of the tables that a request reads: who the user is, what they want, and the places in the caps.
    """
    first = min(load.users, _PATTERNS)
    patterns: dict[int, dict[str, bytes]] = {}
    for tables in rows_of_users(load, 0, first).values():
        for table in _KEPT:
            for key, value in tables[table].items():
                patterns.setdefault(int(key[-8:]), {})[table] = value
    for begin in range(0, load.users, _PATTERNS):
        rows: Rows = {p: {table: {} for table in _KEPT} for p in range(load.partitions)}
        for number in range(begin, min(load.users, begin + _PATTERNS)):
            pattern = number % first
            old, new = f"{pattern:08}".encode(), f"{number:08}".encode()
            key = user_id(number).encode()
            tables = rows[partition_of(key, load.partitions)]
            for table, value in patterns[pattern].items():
                tables[table][key] = value.replace(old, new)
        yield rows
