"""What those whose provider never answers cost everybody else: the latency of the others, calm and beside them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from statistics import median
from typing import Any

import aiohttp

from app.domain.partition import partition_of
from bench.delivering import Offered, Pipe, name_of
from bench.figures import Figure, compared, percentile
from bench.ground import Ground
from bench.run import Run
from bench.workload import unix_ms, user_id

NAME = "neighbours"
_RATE = 100.0
_USERS, _HANGING = 1_000, 10
_ROUNDS = 3
#: The p99 of the others may be so many times the calm one.
_BOUND = 2.0
_WAITING = 150


async def measure(run: Run) -> None:
    async with Ground(run, NAME) as ground:
        pipe = Pipe(ground, _USERS)
        await pipe.prepare()
        await pipe.start()
        run.tell("neighbours: 1 % of the addresses hang", await _beside_hanging(run, pipe))
        run.tell("neighbours: one user's provider is silent", [await _beside_a_queue(pipe, _ROUNDS * _HANGING)])


async def _beside_hanging(run: Run, pipe: Pipe) -> list[Figure]:
    """In turn, so that what else the machine does befalls both; other addresses hang each time, and none of them ever
    counts."""
    seconds = run.size(60.0, 15.0)
    found: dict[str, list[float]] = {"calm": [], "hanging": []}
    for turn in range(_ROUNDS):
        silent = range(turn * _HANGING, (turn + 1) * _HANGING)
        found["calm"].append(await _p99_of_others(pipe, seconds, f"calm {turn + 1}"))
        async with _faults(pipe, [{"action": "hang", "address": _token(user)} for user in silent]):
            found["hanging"].append(await _p99_of_others(pipe, seconds, f"hanging {turn + 1}"))
    ratios = [beside / calm for calm, beside in zip(found["calm"], found["hanging"], strict=True)]
    middle = sorted(range(_ROUNDS), key=ratios.__getitem__)[_ROUNDS // 2]
    detail = {"rounds": _ROUNDS, "ratios": [round(ratio, 2) for ratio in ratios], "median": round(median(ratios), 2)}
    calm, beside = (
        Figure(benchmark=NAME, case=case, name="p99", value=found[of][middle], unit="ms", detail=detail)
        for of, case in (("calm", "100/s, calm"), ("hanging", "100/s, 1 % hang"))
    )
    return [calm, compared(beside, calm, at_most=_BOUND)]


async def _p99_of_others(pipe: Pipe, seconds: float, words: str) -> float:
    offered = await pipe.offer(_RATE, seconds, words)
    never = {user_id(user).encode() for user in range(_ROUNDS * _HANGING)}
    others = {name: at for name, at in offered.at_ms.items() if offered.keys[name] not in never}
    await pipe.until_accepted(set(others), f"the last of {words}")
    return percentile(pipe.latencies(Offered(others)), 99.0)


async def _beside_a_queue(pipe: Pipe, silent: int) -> Figure:
    partitions = pipe.ground.partitions
    where = partition_of(user_id(silent).encode(), partitions)
    beside = next(u for u in range(silent + 1, _USERS) if partition_of(user_id(u).encode(), partitions) == where)
    async with _faults(pipe, [{"action": "hang", "address": _token(silent)}]):
        await pipe.ground.append(pipe.take(_WAITING, user=silent))
        began = unix_ms()
        [record] = pipe.take(1, user=beside)
        await pipe.ground.append([record])
        await pipe.until_accepted({name_of(record)}, "the neighbour")
        waited_ms = pipe.phone.accepted[name_of(record)] - began
    case = f"beside {_WAITING} to a silent user"
    return Figure(benchmark=NAME, case=case, name="a neighbour waits", value=waited_ms, unit="ms")


def _token(user: int) -> str:
    """The workload's (``bench.workload.commands``)."""
    return f"{user:064x}"


@asynccontextmanager
async def _faults(pipe: Pipe, rules: Iterable[dict[str, Any]]) -> AsyncIterator[None]:
    url = f"{pipe.ground.system.state.sandbox_url}/faults"
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        for rule in rules:
            async with http.post(url, json={"provider": "apns", **rule}):
                pass
        try:
            yield
        finally:
            async with http.delete(url):
                pass
