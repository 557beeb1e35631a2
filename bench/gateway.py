"""What the gateway costs a request, beside a bare handler that only produces to Kafka: CPU time, and how long it takes
to answer. In turns, so that what else the machine does befalls both."""

import asyncio
import sys
from statistics import median

import aiohttp

from app.dev.ports import free_port
from bench.asking import asker
from bench.figures import Figure, compared, percentile
from bench.ground import Ground, Worker
from bench.run import Run

NAME = "gateway"
_ROUNDS = 5
_AT_ONCE = 32
_RATE = 300.0
#: Of the gateway's to the bare handler's.
_CPU_BOUND, _P99_BOUND = 1.6, 3.0


async def measure(run: Run) -> None:
    requests, seconds = run.size(10_000, 1_000), run.size(20.0, 4.0)
    async with Ground(run, NAME) as ground:
        gateway, bare_port = await ground.start_gateway(), free_port()
        bare = await ground.start("bare", [sys.executable, "-m", "bench.bare", ground.bootstrap, str(bare_port)])
        sides: dict[str, tuple[Worker, str]] = {
            "bare": (bare, f"http://127.0.0.1:{bare_port}"),
            "gateway": (gateway, ground.system.state.gateway_url),
        }
        await _until_open(sides["bare"][1])
        cpu: dict[str, list[float]] = {side: [] for side in sides}
        p99: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(-1, _ROUNDS):
            for side, (worker, url) in sides.items():
                async with asker(url, ground.system.state.api_keys["demo"]) as service:
                    before_s = worker.cpu_s()
                    await service.ask_for(requests, _AT_ONCE)
                    spent_us = 1e6 * (worker.cpu_s() - before_s) / requests
                    took = await service.offer(ground, _RATE, seconds, f"{side} {turn}") if turn >= 0 else []
                if turn >= 0:  # (the one before warms both up)
                    cpu[side].append(spent_us)
                    p99[side].append(percentile(took, 99.0))
    told = _figures(cpu, f"{_AT_ONCE} at once", "cpu", "µs/request", _CPU_BOUND)
    run.tell("gateway: beside a bare handler", [*told, *_figures(p99, f"{_RATE:g}/s", "p99", "ms", _P99_BOUND)])


def _figures(found: dict[str, list[float]], case: str, name: str, unit: str, bound: float) -> list[Figure]:
    """Of the round whose ratio is the median of all."""
    ratios = [ours / least for ours, least in zip(found["gateway"], found["bare"], strict=True)]
    middle = sorted(range(_ROUNDS), key=ratios.__getitem__)[_ROUNDS // 2]
    detail = {"rounds": _ROUNDS, "ratios": [round(each, 2) for each in ratios], "median": round(median(ratios), 2)}
    bare, gateway = (
        Figure(benchmark=NAME, case=f"{side}, {case}", name=name, value=found[side][middle], unit=unit, detail=detail)
        for side in ("bare", "gateway")
    )
    return [bare, compared(gateway, bare, at_most=bound)]


async def _until_open(url: str) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
