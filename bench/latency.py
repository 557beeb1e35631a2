"""How long a message takes, from the moment it is produced until the provider sandbox has it, at parts of what the
whole pipe can carry on this machine: broker, router, push role and sandbox share its cores."""

from bench.delivering import Pipe, latency_figures, name_of
from bench.figures import Figure, compared, held
from bench.ground import Ground
from bench.run import Run

NAME = "latency"
_PARTS = (10, 50, 80)
#: At half of the capacity, in ms.
_BOUNDS = {"p50": 30.0, "p99": 250.0}


async def measure(run: Run) -> None:
    async with Ground(run, NAME) as ground:
        pipe = Pipe(ground, users=run.size(5_000, 500))
        await pipe.prepare()
        await pipe.start()
        capacity = await _capacity(pipe, run.size(8_000, 1_000))
        run.tell("latency: what the pipe carries", [capacity])
        base: dict[str, Figure] = {}
        for part in _PARTS:
            case, rate = f"{part} % of capacity", capacity.value * part / 100
            offered = await pipe.offer(rate, run.size(40.0, 10.0), case)
            await pipe.until_accepted(set(offered.at_ms), "the last of them")
            found = latency_figures(NAME, case, pipe.latencies(offered), offered)
            told = {name: compared(figure, base.get(name)) for name, figure in found.items()}
            if part == 50:
                told |= {name: _held(told[name], bound) for name, bound in _BOUNDS.items()}
            base = base or found
            run.tell(f"latency at {case}, {rate:.0f}/s", list(told.values()))


def _held(figure: Figure, bound: float) -> Figure:
    return held(figure, at_most=bound)


async def _capacity(pipe: Pipe, count: int) -> Figure:
    """Messages a second through all of it, while it works through what waits; the first fifth is warm-up."""
    records = list(pipe.take(count))
    names = [name_of(record) for record in records]
    await pipe.ground.produce(records, "requests", count)
    await pipe.until_accepted(set(names), "capacity")
    times = sorted(pipe.phone.accepted[name] for name in names)
    warm = count // 5
    seconds = (times[-1] - times[warm]) / 1000
    detail = {"requests": count - warm, "seconds": round(seconds, 2)}
    value = (count - 1 - warm) / seconds
    return Figure(benchmark=NAME, case="whole pipe", name="capacity", value=value, unit="/s", detail=detail)
