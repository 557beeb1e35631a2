"""What a decision costs: the router, beside a loop with everything in memory and beside a stock Faust app.

All three read the same requests from the same broker, begin with the same rows and have to produce the same sends.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.draining import drain
from bench.figures import Figure, compared
from bench.ground import Ground, Worker
from bench.preloading import Changelogs, preload_users
from bench.rival import RECOVERY_FILE, Rival
from bench.routing import SENDS
from bench.run import Run
from bench.workload import Workload, requests, unix_ms
from schemas.topics import LIFECYCLE
from tables.router import ROUTER_TABLES

NAME = "comparison"
CASES = ("memory", "router", "stock")


class Different(Exception):
    """Two that do the same job didn't do the same."""


class Sizes(Struct, frozen=True):
    """How many users and requests, ``warm`` of them before the measurement; fewer for the stock app, as it is slow."""

    users: int
    warm: int
    events: int
    stock_warm: int
    stock_events: int


async def measure(run: Run) -> None:
    sizes = Sizes(20_000, 20_000, 120_000, 2_000, 14_000) if not run.short else Sizes(2_000, 4_000, 24_000, 500, 3_000)
    await compare(run, sizes)


async def compare(run: Run, sizes: Sizes) -> None:
    """Measures the wanted ones of the three; the one in memory always, as it is the baseline."""
    async with Ground(run, NAME) as ground:
        load = Workload(users=sizes.users, events=sizes.events, partitions=ground.partitions, now_ms=unix_ms())
        memory, stock = _rival(ground, load, "memory"), _rival(ground, load, "stock")
        with_router, with_stock = run.wants(NAME, "router"), run.wants(NAME, "stock")
        await _preload(ground, load, memory, stock, with_router=with_router, with_stock=with_stock)
        base = await _drained(run, ground, await _start(ground, memory), "memory", memory.topic(SENDS), sizes)
        same = _Same(await _sends(ground, memory.topic(SENDS)), sizes.events)
        ours: dict[str, Figure] = {}
        if with_router:
            ours = await _drained(run, ground, await ground.start_role("router"), "router", SENDS, sizes, base)
            same.check("router", await _sends(ground, SENDS))
            await _same_events(ground, memory.topic(LIFECYCLE), LIFECYCLE)
        if with_stock:
            rows = await _count(ground, *map(stock.changelog, ROUTER_TABLES))
            theirs = await _drained(run, ground, await _start(ground, stock), "stock", stock.topic(SENDS), sizes, base)
            same.check("stock", await _sends(ground, stock.topic(SENDS)), all_of_them=False)
            if (recovery := await _recovery(stock, rows)) is not None:
                run.tell("stock: recovery of its tables", [recovery])
            if ours:
                against = [
                    compared(theirs["cpu"], ours["cpu"], at_least=12),
                    compared(theirs["events"], ours["events"]),
                ]
                run.tell("stock against the router", against)


def _rival(ground: Ground, load: Workload, name: str) -> Rival:
    folder = str(ground.folder / "rivals" / name)
    return Rival(name=f"bench_{name}", bootstrap=ground.bootstrap, load=load, folder=folder)


async def _start(ground: Ground, rival: Rival) -> Worker:
    name = rival.name.removeprefix("bench_")
    given = rival.write(ground.folder / "rivals" / f"{name}.json")
    return await ground.start(name, [sys.executable, "-m", f"bench.{name}", given])


async def _preload(
    ground: Ground, load: Workload, memory: Rival, stock: Rival, *, with_router: bool, with_stock: bool
) -> None:
    """The policy, the rows of the users as changelogs, and the requests."""
    await ground.make_topics([rival.topic(topic) for rival in (memory, stock) for topic in (SENDS, LIFECYCLE)])
    await ground.make_topics([stock.changelog(table) for table in ROUTER_TABLES], compacted=True)
    changelogs = [Changelogs("router")] if with_router else []
    if with_stock:
        changelogs.append(Changelogs("router", stock.changelog))
    await preload_users(ground, load, changelogs)
    await ground.produce(requests(load), "requests", load.events)


async def _drained(
    run: Run,
    ground: Ground,
    worker: Worker,
    case: str,
    topic: str,
    sizes: Sizes,
    base: Mapping[str, Figure] | None = None,
) -> dict[str, Figure]:
    """Measures one of the three, tells what was found, and stops it."""
    warm, total = (sizes.stock_warm, sizes.stock_events) if case == "stock" else (sizes.warm, sizes.events)
    figures = (await drain(ground, [worker], topic, warm, total, case)).figures(NAME, case)
    await worker.stop()
    if base is not None:
        bounds = {"cpu": 2.0} if case == "router" else {}
        figures = {name: compared(f, base[name], at_most=bounds.get(name)) for name, f in figures.items()}
    run.tell(case, list(figures.values()))
    return figures


async def _recovery(stock: Rival, rows: int) -> Figure | None:
    """None where the app never told: it begins to work before the task that tells does, and may be stopped first."""
    file = Path(stock.folder) / RECOVERY_FILE
    if not file.exists():
        return None
    seconds = float(file.read_text())
    detail = {"rows": rows, "seconds": round(seconds, 2)}
    return Figure(benchmark=NAME, case="stock", name="recovery", value=rows / seconds, unit="rows/s", detail=detail)


async def _count(ground: Ground, *topics: str) -> int:
    return sum((await ground.ends(*topics)).values())


async def _sends(ground: Ground, topic: str) -> list[str]:
    """The ids of the sends in a topic."""
    return [msgspec.json.decode(record.value, type=_Named).send_id for record in await ground.read(topic)]


class _Named(Struct):
    send_id: str


class _Same:
    """Holds what the others sent to what the loop in memory sent."""

    def __init__(self, sends: list[str], events: int) -> None:
        """Raises Different where not every request became one send."""
        self._sends = set(sends)
        if not len(sends) == len(self._sends) == events:
            raise Different(f"memory: {len(sends)} sends, {len(self._sends)} different, of {events} requests")

    def check(self, case: str, sends: list[str], *, all_of_them: bool = True) -> None:
        """Raises Different for a send too many, twice, or (``all_of_them``) missing."""
        found = set(sends)
        if len(found) < len(sends) or not found <= self._sends or (all_of_them and found != self._sends):
            more, fewer = len(found - self._sends), len(self._sends - found)
            raise Different(f"{case}: {len(sends)} sends, {len(found)} different, {more} unknown, {fewer} missing")


async def _same_events(ground: Ground, theirs: str, ours: str) -> None:
    memory, router = await _count(ground, theirs), await _count(ground, ours)
    if memory != router:
        raise Different(f"lifecycle events: memory {memory}, router {router}")
