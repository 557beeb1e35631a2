"""How fast a worker that has lost its disk rebuilds its stores: from the changelogs that a router wrote at work."""

import json
import shutil
from pathlib import Path

from bench import comparison
from bench.figures import Figure, compared, held
from bench.ground import Ground, Worker
from bench.preloading import Changelogs, preload_users
from bench.routing import drain_by_routers
from bench.run import Run
from bench.workload import Workload, requests, unix_ms

NAME = "recovery"
_AT_LEAST = 100_000.0


async def measure(run: Run) -> None:
    async with Ground(run, NAME) as ground:
        load = Workload(
            users=run.size(20_000, 1_000),
            events=run.size(60_000, 6_000),
            partitions=ground.partitions,
            now_ms=unix_ms(),
        )
        await preload_users(ground, load, (Changelogs("router"),))
        await ground.produce(requests(load), "requests", load.events)
        await drain_by_routers(ground, load.events, "rows to recover")
        shutil.rmtree(ground.system.settings.data.dir / "router-1")
        task = ground.progress.add_task("  recovery", total=None)
        router = await ground.start_role("router")
        await router.until(ground.ready("router"))
        figure = recovered(router, NAME, "router, all its partitions cold")
        await router.stop()
        ground.progress.remove_task(task)
        stock = next((f for f in run.figures if f.benchmark == comparison.NAME and f.name == "recovery"), None)
        run.tell("recovery", [held(compared(figure, stock), at_least=_AT_LEAST)])


def recovered(router: Worker, benchmark: str, case: str) -> Figure:
    """Rows a second, by what the worker logged of its partitions, which it brings up at the same time."""
    rows, seconds, partitions = 0, 0.0, 0
    with Path(router.program.log).open("rb") as file:
        file.seek(router.log_from)
        for line in file:
            if b'"partition ready"' in line:
                said = json.loads(line)
                rows, partitions = rows + said["rows_restored"], partitions + 1
                seconds = max(seconds, said["seconds"])
    detail = {"rows": rows, "seconds": seconds, "partitions": partitions}
    return Figure(benchmark=benchmark, case=case, name="recovery", value=rows / seconds, unit="rows/s", detail=detail)
