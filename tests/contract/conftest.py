"""The real provider sandbox, started as its own process for each module of contract tests."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

START_LIMIT_S = 30


@dataclass
class RunningSandbox:
    """One sandbox process and what its sandbox.json says; ``start`` after ``stop`` is a restart."""

    dir: Path
    control_url: str = ""
    providers: dict[str, dict[str, Any]] = None  # type: ignore[assignment]
    env: dict[str, str] = None  # type: ignore[assignment]
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "app.sandbox", "--dir", str(self.dir)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("sandbox ready "), line
        description = json.loads((self.dir / "sandbox.json").read_text())
        self.control_url, self.providers, self.env = (description[k] for k in ("control_url", "providers", "env"))

    def stop(self, *, kill: bool = False) -> int:
        """Returns the exit status."""
        assert self.process is not None
        assert self.process.stdout is not None
        (self.process.kill if kill else self.process.terminate)()
        status = self.process.wait(START_LIMIT_S)
        self.process.stdout.close()
        self.process = None
        return status

    async def get(self, path: str, **query: str | int) -> Any:
        async with aiohttp.ClientSession() as session, session.get(self.control_url + path, params=query) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def accepted(self, **query: str | int) -> list[dict[str, Any]]:
        return list((await self.get("/accepted", **query))["accepted"])

    async def calls(self, **query: str | int) -> list[dict[str, Any]]:
        return list((await self.get("/calls", **query))["calls"])

    async def fault(self, **fault: Any) -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.control_url}/faults", json=fault) as answer,
        ):
            body = await answer.json()
            assert answer.status == 201, body
            return str(body["fault_id"])

    async def until_called(self, count: int, **query: str | int) -> list[dict[str, Any]]:
        """Waits until there are so many such calls."""
        async with asyncio.timeout(START_LIMIT_S):
            while len(calls := await self.calls(**query)) < count:
                await asyncio.sleep(0.02)
        return calls


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    running = RunningSandbox(tmp_path_factory.mktemp("sandbox"))
    running.start()
    try:
        yield running
    finally:
        if running.process is not None:
            running.stop()
