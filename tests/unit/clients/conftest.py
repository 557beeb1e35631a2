"""The gateway's own routes, served over HTTP by another thread: what it publishes goes to the roles in memory."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fuzz import gateway as real

_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    #: By the caller's name: API keys (``shop``, ``ops``) and users' tokens (``ann``).
    keys: dict[str, str]
    gateway: "real._Gateway"

    def begin_anew(self) -> None:
        """What earlier tests have left is forgotten."""
        self.gateway.world = real._World()


@pytest.fixture(scope="package")
def serving() -> Iterator[Served]:
    ready, stop = threading.Event(), threading.Event()
    made: list[real._Gateway] = []

    def serve() -> None:
        real._in_force()
        gateway = real._Gateway()
        made.append(gateway)
        ready.set()
        gateway.runner.run(_until(stop))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(_START_S)
    keys = {name: (real._authorization(name) or b"").decode().removeprefix("Bearer ") for name in real.CALLERS}
    yield Served(f"http://127.0.0.1:{made[0].port}", keys, made[0])
    stop.set()
    thread.join(_START_S)


@pytest.fixture
def served(serving: Served) -> Served:
    serving.begin_anew()
    return serving


async def _until(stop: threading.Event) -> None:
    while not stop.is_set():
        await asyncio.sleep(0.05)
