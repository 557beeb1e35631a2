"""What thousands of slow connections cost those who ask: how long the gateway's answers take, calm and beside them."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

import psutil

from bench.asking import asker
from bench.figures import Figure, compared, percentile
from bench.ground import Ground, Worker
from bench.run import Run
from faults.slow_connections import slow_connections

NAME = "slowloris"
_RATE = 50.0
_ROUNDS = 3
#: The p99 of the answers may be so many times the calm one.
_BOUND = 2.0
_SLOW = 5_000
_ALL_OPEN_S = 120.0


async def measure(run: Run) -> None:
    """In turn, so that what else the machine does befalls both."""
    allow_files(2 * _SLOW)
    seconds = run.size(60.0, 15.0)
    found: dict[str, list[float]] = {"calm": [], "slow": []}
    held: list[int] = []
    async with Ground(run, NAME) as ground:
        gateway = await ground.start_gateway()
        for turn in range(_ROUNDS):
            found["calm"].append(await _p99_of_answers(ground, seconds, f"calm {turn + 1}"))
            async with _slow(ground):
                found["slow"].append(await _p99_of_answers(ground, seconds, f"slow {turn + 1}"))
                held.append(_connections(gateway))
    ratios = [beside / calm for calm, beside in zip(found["calm"], found["slow"], strict=True)]
    middle = sorted(range(_ROUNDS), key=ratios.__getitem__)[_ROUNDS // 2]
    detail = {
        "rounds": _ROUNDS,
        "ratios": [round(ratio, 2) for ratio in ratios],
        "median": round(median(ratios), 2),
        "held_at_the_end": held,
    }
    calm, beside = (
        Figure(benchmark=NAME, case=case, name="p99", value=found[of][middle], unit="ms", detail=detail)
        for of, case in (("calm", "50/s, calm"), ("slow", f"50/s, {_SLOW:,} slow connections"))
    )
    run.tell("slowloris: answers of the gateway", [calm, compared(beside, calm, at_most=_BOUND)])


def allow_files(needed: int) -> None:
    """The gateway's processes inherit it. Raises OSError where the machine allows too few."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise OSError(f"{hard} open files are allowed at most, {needed} are needed: raise `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@asynccontextmanager
async def _slow(ground: Ground) -> AsyncIterator[None]:
    """Once all of them have been open."""
    async with slow_connections(ground.system.state.gateway_url, _SLOW) as counts:
        async with asyncio.timeout(_ALL_OPEN_S):
            async for opened, _ in counts:
                if opened == _SLOW:
                    break
        yield


async def _p99_of_answers(ground: Ground, seconds: float, words: str) -> float:
    state = ground.system.state
    async with asker(state.gateway_url, state.api_keys["demo"]) as service:
        return percentile(await service.offer(ground, _RATE, seconds, words), 99.0)


def _connections(gateway: Worker) -> int:
    """How many the gateway holds."""
    return sum(each.status == psutil.CONN_ESTABLISHED for each in psutil.Process(gateway.process.pid).net_connections())
