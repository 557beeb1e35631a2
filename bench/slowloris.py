"""What thousands of slow connections cost those who ask: how long the gateway's answers take, calm and beside them."""

import asyncio
import random
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

import aiohttp
import psutil

from bench.figures import Figure, compared, percentile
from bench.ground import Ground, Worker
from bench.run import Run
from bench.workload import EVENT_TYPE, user_id
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
    """Milliseconds from when each request was due to its 202, at random (Poisson) times that don't wait. Raises
    RuntimeError for any other answer."""
    chance = random.Random(words)
    state = ground.system.state
    headers = {"Authorization": f"Bearer {state.api_keys['demo']}"}
    took: list[float] = []

    async def ask(user: int, due: float) -> None:
        content = {"title": "Number", "body": f"{user}"}
        body = {"user_id": user_id(user), "event_type": EVENT_TYPE, "channels": ["in_app"], "content": content}
        async with http.post("/v1/notifications", json=body) as answer:
            if answer.status != 202:
                raise RuntimeError(f"the gateway answered {answer.status}: {await answer.text()}")
        took.append(1000 * (time.monotonic() - due))

    task = ground.progress.add_task(f"  {words}", total=round(seconds))
    async with (
        aiohttp.ClientSession(state.gateway_url, headers=headers, timeout=aiohttp.ClientTimeout(total=60)) as http,
        asyncio.TaskGroup() as asking,
    ):
        begun, at_s = time.monotonic(), 0.0
        while (at_s := at_s + chance.expovariate(_RATE)) < seconds:
            await asyncio.sleep(max(0.0, begun + at_s - time.monotonic()))
            asking.create_task(ask(chance.randrange(1_000), begun + at_s))
            ground.progress.update(task, completed=int(at_s))
    ground.progress.remove_task(task)
    return percentile(took, 99.0)


def _connections(gateway: Worker) -> int:
    """How many the gateway holds."""
    return sum(each.status == psutil.CONN_ESTABLISHED for each in psutil.Process(gateway.process.pid).net_connections())
