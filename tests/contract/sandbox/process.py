"""The provider sandbox as a process of its own, and what a test asks of it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

#: On a machine with much else to do.
LIMIT_S = 180


@dataclass
class RunningSandbox:
    """One sandbox and what its sandbox.json says. ``start`` after ``stop`` is a restart."""

    dir: Path
    control_url: str = ""
    providers: dict[str, dict[str, Any]] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[str] | None = None

    def start(self, before: Callable[[], None] | None = None) -> None:
        """``before`` runs in the new process before the sandbox does."""
        command = [sys.executable, "-m", "app.sandbox", "--dir", str(self.dir)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=before
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("sandbox ready http://127.0.0.1:")
        description = json.loads((self.dir / "sandbox.json").read_text())
        self.control_url, self.providers, self.env = (description[k] for k in ("control_url", "providers", "env"))

    def stop(self, *, kill: bool = False) -> int:
        """Returns the exit status."""
        assert self._process is not None
        if kill:
            self._process.kill()
        else:
            self._process.terminate()
        return self.ended()[0]

    def ended(self) -> tuple[int, str]:
        """Waits for the end; returns the exit status and what was said on standard error."""
        assert self._process is not None
        _, errors = self._process.communicate(timeout=LIMIT_S)
        status, self._process = self._process.returncode, None
        return status, errors

    @property
    def is_running(self) -> bool:
        """Started and not yet stopped or seen to end."""
        return self._process is not None

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process is not None and self._process.poll() is None

    async def request(self, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
        """(status, JSON) of a call to the control port."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.control_url + path, **kwargs) as answer,
        ):
            return answer.status, await answer.json()

    async def accepted(self, **query: str | int) -> list[dict[str, Any]]:
        status, body = await self.request("GET", "/accepted", params=query)
        assert status == 200, body
        return list(body["accepted"])

    async def calls(self, **query: str | int) -> list[dict[str, Any]]:
        status, body = await self.request("GET", "/calls", params=query)
        assert status == 200, body
        return list(body["calls"])

    async def fault(self, **fault: Any) -> str:
        """Puts a fault in force; returns its id."""
        status, body = await self.request("POST", "/faults", json=fault)
        assert status == 201, body
        return str(body["fault_id"])

    async def until_called(self, **query: str | int) -> dict[str, Any]:
        """Waits for the first such call."""
        async with asyncio.timeout(LIMIT_S):
            while not (calls := await self.calls(**query)):
                await asyncio.sleep(0.02)
        return calls[0]
