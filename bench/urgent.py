"""Whether urgent messages overtake: critical requests beside lanes in which very many others wait."""

from bench.delivering import Pipe, latency_figures
from bench.figures import compared, held
from bench.ground import Ground
from bench.run import Run
from bench.workload import URGENT_TYPE
from schemas.topics import EVENTS_BULK, EVENTS_CRITICAL

NAME = "urgent"
_RATE = 20.0
_BOUND_MS = 1000.0


async def measure(run: Run) -> None:
    async with Ground(run, NAME) as ground:
        pipe = Pipe(ground, users=run.size(5_000, 500))
        await pipe.prepare()
        await pipe.start()
        alone = await pipe.offer(_RATE, run.size(20.0, 5.0), "urgent alone", EVENTS_CRITICAL, URGENT_TYPE)
        await pipe.until_accepted(set(alone.at_ms), "the last of them")
        base = latency_figures(NAME, "nothing else waits", pipe.latencies(alone), alone)
        run.tell("urgent: with nothing else to do", list(base.values()))

        await pipe.workers["router"].stop()
        waiting = run.size(100_000, 15_000)
        await ground.produce(pipe.take(waiting), "normal lane", waiting)
        await ground.produce(pipe.take(waiting, EVENTS_BULK), "bulk lane", waiting)
        pipe.workers["router"] = await ground.start_ready("router")
        pipe.phone.look()
        before = len(pipe.phone.accepted)
        beside = await pipe.offer(_RATE, run.size(40.0, 8.0), "urgent beside the others", EVENTS_CRITICAL, URGENT_TYPE)
        await pipe.until_accepted(set(beside.at_ms), "the last of them")
        left = 2 * waiting - (len(pipe.phone.accepted) - before - len(beside.at_ms))
        if left <= 0:
            raise RuntimeError("nothing waited any more when the last urgent one was produced")
        case = f"beside {2 * waiting:,} waiting"
        found = latency_figures(NAME, case, pipe.latencies(beside), beside)
        told = {name: compared(figure, base[name]) for name, figure in found.items()}
        told["p99"] = held(told["p99"], at_most=_BOUND_MS)
        for figure in told.values():
            figure.detail["still_waiting_at_the_end"] = left
        run.tell("urgent: beside loaded lanes", list(told.values()))
