"""How long the console's pages take to answer: ``python -m bench.console`` beside ``make run`` or ``make demo``.

The median of ten calls of each page, one after the other, on what the running system holds. 300 ms are asked.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Iterable
from typing import Any

import aiohttp

from app.api.console.pages import MENU, ROOT
from app.defaults import dashboard_panels
from app.dev.state import State, read_state

_CALLS = 10
_AT_MOST_MS = 300.0
_LATEST = "SELECT notification_id, user_id FROM lifecycle WHERE status = 'sent' ORDER BY occurred_at DESC LIMIT 1"


async def measure(state: State) -> bool:
    """Prints a line for each page; whether all are fast enough."""
    key = state.api_keys["admin"]
    async with aiohttp.ClientSession(state.gateway_url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.post(f"{ROOT}/sign-in", data={"key": key}) as response:
            response.raise_for_status()
        slow = 0
        for name, path in [*MENU, *await _of_users(session, key), *_of_dashboards()]:
            took = [await _took_ms(session, path) for _ in range(_CALLS)]
            median = statistics.median(took)
            slow += median > _AT_MOST_MS
            print(f"{name:32} median {median:6.0f} ms, slowest {max(took):6.0f} ms{', slow' * (median > _AT_MOST_MS)}")
    return not slow


async def _took_ms(session: aiohttp.ClientSession, path: str) -> float:
    begun = time.perf_counter()
    async with session.get(ROOT + path) as response:
        await response.read()
        response.raise_for_status()
    return (time.perf_counter() - begun) * 1000


async def _of_users(session: aiohttp.ClientSession, key: str) -> Iterable[tuple[str, str]]:
    """The pages of the latest notification, and of whoever got it."""
    headers = {"Authorization": f"Bearer {key}"}
    async with session.get("/v1/query", params={"sql": _LATEST}, headers=headers) as response:
        found: dict[str, Any] = await response.json()
    for name, user in found["rows"]:
        paths = (f"/notifications/{name}?user_id={user}", f"/users/{user}", f"/find?q={name}")
        return zip(("notification", "user", "find a notification"), paths, strict=True)
    return ()


def _of_dashboards() -> Iterable[tuple[str, str]]:
    for dashboard in dashboard_panels()["dashboards"]:
        name = dashboard["name"]
        yield f"dashboard {name}", f"/dashboards?name={name}"
        for number, _ in enumerate(dashboard["panels"]):
            yield f"dashboard {name}, panel {number}", f"/dashboards/panel?name={name}&number={number}"


def main() -> None:
    state = read_state()
    if state is None:
        sys.exit("no system runs here: start one with `make run`, and send something")
    sys.exit(0 if asyncio.run(measure(state)) else 1)


if __name__ == "__main__":
    main()
