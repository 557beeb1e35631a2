"""Routers that work through what waits on a ground, measured; what several benchmarks do on grounds of their own."""

from bench.draining import Drained, drain
from bench.ground import Ground
from schemas.topics import send_topic

#: Where the workload's sends go: orders are told by push, on the normal lane.
SENDS = send_topic("push", "normal")
#: A worker that did less than this part of the work didn't take part.
_PART = 0.1


async def drain_by_routers(ground: Ground, events: int, words: str, *, count: int = 1) -> Drained:
    """Starts routers and waits until all is done; the first third is warm-up, recovery and rebalancing included.

    Raises RuntimeError where one of them had hardly anything to do.
    """
    routers = [await ground.start_role("router", str(number)) for number in range(1, count + 1)]
    at_first = await drain(ground, routers, SENDS, 0, events // 3, f"{words}, warm-up")
    spent = [router.cpu_s() for router in routers]
    drained = await drain(ground, routers, SENDS, at_first.end.count, events, words)
    did = [router.cpu_s() - before for router, before in zip(routers, spent, strict=True)]
    if min(did) < _PART * sum(did):
        raise RuntimeError(f"{words}: a worker took no part (CPU seconds: {', '.join(f'{s:.1f}' for s in did)})")
    for router in routers:
        await router.stop()
    return drained
