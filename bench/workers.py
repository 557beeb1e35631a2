"""What a decision costs when two processes share the partitions, and how many more they make together."""

from bench.figures import Figure, compared
from bench.ground import Ground
from bench.preloading import Changelogs, preload_users
from bench.routing import drain_by_routers
from bench.run import Run
from bench.workload import Workload, requests, unix_ms

NAME = "workers"


async def measure(run: Run) -> None:
    base: dict[str, Figure] = {}
    for count in (1, 2):
        async with Ground(run, NAME) as ground:
            load = Workload(
                users=run.size(10_000, 1_000),
                events=run.size(90_000, 9_000),
                partitions=ground.partitions,
                now_ms=unix_ms(),
            )
            await preload_users(ground, load, (Changelogs("router"),))
            await ground.produce(requests(load), "requests", load.events)
            case = f"{count} router{'s' if count > 1 else ''}"
            figures = (await drain_by_routers(ground, load.events, case, count=count)).figures(NAME, case)
            told = [compared(figure, base.get(name)) for name, figure in figures.items()]
            base = base or figures
            run.tell(f"workers: {case}", told)
