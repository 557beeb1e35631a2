"""What another policy would have made of what is recorded: ``tocsin simulate``, run beside the gateway.

It reads days of records, so it is a process of its own, one at a time, that ends soon enough.
"""

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from app.api.problems import Problem, later

#: How far back, by name.
RANGES: Final = ("1h", "24h", "7d")
_WITHIN_S = 300.0
_USERS = 20
#: Rows and bars that are shown of all that differ.
_MOST_ROWS: Final = 40
_MOST_CHARACTERS = 2000
_SIMULATE: Final = (sys.executable, "-m", "app.cli", "simulate")


class Comparing:
    """``command``: what is run, with the settings of this process's environment."""

    def __init__(self, command: Sequence[str] = _SIMULATE, within_s: float = _WITHIN_S) -> None:
        self._command = command
        self._within_s = within_s
        self._is_running = False

    async def compare(self, policy: str, since: str) -> dict[str, Any]:
        """As ``tocsin simulate --json`` prints it. Raises Problem."""
        if since not in RANGES:
            raise Problem(400, f"is none of {', '.join(RANGES)}", "since")
        if self._is_running:
            raise later("another comparison is running: try again when it has ended")
        self._is_running = True
        try:
            with tempfile.TemporaryDirectory(prefix="tocsin-policy-") as folder:
                file = Path(folder) / "policy.yaml"
                file.write_text(policy)
                asked = ("--policy", str(file), "--from", since, "--users", str(_USERS), "--json")
                return await self._run(*asked, scratch=folder)
        finally:
            self._is_running = False

    async def _run(self, *options: str, scratch: str) -> dict[str, Any]:
        """``scratch``: where it keeps users' data while it runs. It may be killed: we clear that away."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *options,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "NO_COLOR": "1", "TERM": "dumb", "TMPDIR": scratch},
        )
        try:
            async with asyncio.timeout(self._within_s):
                printed, said = await process.communicate()
        except TimeoutError:
            raise Problem(422, f"takes longer than {self._within_s:g} s: choose a shorter time", "since") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            raise Problem(422, _last_line(said) or "tocsin simulate failed")
        found: dict[str, Any] = msgspec.json.decode(printed)
        return found


def _last_line(said: bytes) -> str:
    """Why a command failed: its last line that says anything."""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:_MOST_CHARACTERS] if lines else ""


@dataclass(frozen=True, slots=True)
class Bar:
    """One kind of outcome, under the policy in force and under the new one. Widths are of 100."""

    category: str
    channel: str
    outcome: str
    reason: str
    now: int
    new: int
    now_width: float
    new_width: float


def bars(outcomes: Sequence[Mapping[str, Any]]) -> tuple[list[Bar], int]:
    """(what differs, the largest difference first; how many kinds more differ than are shown)."""
    differing = sorted(
        (each for each in outcomes if each["now"] != each["new"]), key=lambda each: -abs(each["new"] - each["now"])
    )
    most = max((max(each["now"], each["new"]) for each in differing), default=0) or 1
    shown = [
        Bar(
            each["category"],
            each["channel"],
            each["outcome"],
            each["reason"] or "",
            each["now"],
            each["new"],
            round(100 * each["now"] / most, 1),
            round(100 * each["new"] / most, 1),
        )
        for each in differing[:_MOST_ROWS]
    ]
    return shown, len(differing) - len(shown)
