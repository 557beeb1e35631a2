"""What a decision costs with more partitions in one worker: smaller batches of each, more stores."""

from bench.figures import Figure, compared
from bench.ground import Ground
from bench.preloading import Changelogs, preload_users
from bench.routing import drain_by_routers
from bench.run import Run
from bench.workload import Workload, requests, unix_ms

NAME = "partitions"


async def measure(run: Run) -> None:
    base: dict[str, Figure] = {}
    for partitions in (8, 64):
        async with Ground(run, NAME, partitions=partitions) as ground:
            # As many for each partition: what is decided and not yet produced when the warm-up ends isn't counted.
            events = run.size(7_500, 750) * partitions
            load = Workload(users=run.size(10_000, 1_000), events=events, partitions=partitions, now_ms=unix_ms())
            await preload_users(ground, load, (Changelogs("router"),))
            await ground.produce(requests(load), "requests", load.events)
            case = f"{partitions} partitions"
            figures = (await drain_by_routers(ground, load.events, case)).figures(NAME, case)
            told = [compared(figure, base.get(name)) for name, figure in figures.items()]
            base = base or figures
            run.tell(f"partitions: {case}", told)
