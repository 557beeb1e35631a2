"""How long a message takes, from the moment it is produced until the provider sandbox has it, at parts of what the
whole pipe can carry on this machine: broker, router, push role and sandbox share its cores."""

import time
from typing import Any

from bench.delivering import Pipe, latency_figures, name_of
from bench.figures import Figure, compared, held
from bench.ground import Ground
from bench.run import Run

NAME = "latency"
_PARTS = (10, 50, 80)
#: Rates are tried from this part of what drains, each so many times the one before, until the last of what was offered
#: arrives later than this.
_FIRST_TRIED, _STEP, _PILED_UP_S = 0.2, 1.25, 1.0
#: At half of the capacity, in ms.
_BOUNDS = {"p50": 30.0, "p99": 250.0}


async def measure(run: Run) -> None:
    async with Ground(run, NAME) as ground:
        pipe = Pipe(ground, users=run.size(5_000, 500))
        await pipe.prepare()
        await pipe.start()
        drained = await _drained(pipe, run.size(8_000, 1_000))
        carried = await _carried(pipe, drained.value, run.size(20.0, 4.0))
        run.tell("latency: what the pipe carries", [drained, compared(carried, drained)])
        base: dict[str, Figure] = {}
        for part in _PARTS:
            case, rate = f"{part} % of capacity", carried.value * part / 100
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


async def _drained(pipe: Pipe, count: int) -> Figure:
    """Messages a second through all of it, while it works through what waits; the first fifth is warm-up."""
    records = list(pipe.take(count))
    names = [name_of(record) for record in records]
    await pipe.ground.produce(records, "requests", count)
    await pipe.until_accepted(set(names), "what waits")
    times = sorted(pipe.phone.accepted[name] for name in names)
    warm = count // 5
    seconds = (times[-1] - times[warm]) / 1000
    detail = {"requests": count - warm, "seconds": round(seconds, 2)}
    return _rate("from what waits", (count - 1 - warm) / seconds, detail)


async def _carried(pipe: Pipe, drained: float, seconds: float) -> Figure:
    """The capacity: the highest rate at which messages that come one by one don't pile up. (Those that wait already are
    taken hundreds at a time, which costs less each.)"""
    carried = rate = drained * _FIRST_TRIED
    while rate <= drained:
        offered = await pipe.offer(rate, seconds, f"{rate:.0f}/s")
        begun = time.monotonic()
        await pipe.until_accepted(set(offered.at_ms), "the last of them")
        if time.monotonic() - begun > _PILED_UP_S:
            break
        carried, rate = rate, rate * _STEP
    return _rate("one by one", carried, {"rates": f"each {_STEP} times the one before, for {seconds:.0f} s"})


def _rate(case: str, value: float, detail: dict[str, Any]) -> Figure:
    return Figure(benchmark=NAME, case=case, name="capacity", value=value, unit="/s", detail=detail)
