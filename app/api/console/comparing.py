"""What another policy would have made of what is recorded: ``tocsin simulate``, run beside the gateway.

It reads days of records, so it is a process of its own, one at a time, that ends soon enough. Its result is kept here
for some minutes and nowhere else. Whoever has a page of it has its name, which says what any other gateway, or this one
after it was restarted, must know to say what became of it.
"""

import asyncio
import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

import msgspec
import structlog
from msgspec import Struct

from app.api.problems import Problem, later
from app.scratch import remove_left_behind, scratch_folder

log = structlog.get_logger(__name__)

#: How far back, by name.
RANGES: Final = ("1h", "24h", "7d")
_WITHIN_S = 300.0
#: How long a result is kept: it names users.
KEPT_S: Final = 900.0
_MOST_KEPT = 4
_USERS = 20
#: Rows and bars that are shown of all that differ.
_MOST_ROWS: Final = 40
_MOST_CHARACTERS = 2000
_MOST_LINE_BYTES = 1 << 20
_SIMULATE: Final = (sys.executable, "-m", "app.cli", "simulate")
_KIND = "comparison"


class Name(Struct, frozen=True, array_like=True):
    """Of a comparison, for its address. ``gateway``, ``run``: which one began it, and in which of its lives; ``at``:
    Unix ms."""

    id: str
    gateway: str
    run: str
    since: str
    at: int


@dataclass(slots=True)
class Comparison:
    """``done``, ``total``: records, as far as they are known; ``ended_at``: of the monotonic clock; ``found``: as
    ``tocsin simulate --json`` prints it; ``problem``: why there is none."""

    name: Name
    key_id: str
    policy: str
    done: int = 0
    total: int = 0
    ended_at: float | None = None
    found: Mapping[str, Any] | None = None
    problem: Problem | None = None


#: Why a comparison isn't here: its gateway was ``restarted``, it is ``elsewhere``, or it is ``over`` and was let go.
Absence = Literal["restarted", "elsewhere", "over"]


class Comparing:
    """``command``: what is run, with the settings of this process's environment. ``folder``: where it may keep what it
    needs; ``gateway``: this one's name; ``clock``: Unix ms."""

    def __init__(
        self,
        command: Sequence[str] = _SIMULATE,
        within_s: float = _WITHIN_S,
        *,
        folder: Path | None = None,
        gateway: str = "",
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = command
        self._within_s = within_s
        self._folder = folder or Path(tempfile.gettempdir())
        self._gateway = gateway or socket.gethostname()
        self._run_id = uuid4().hex
        self._clock, self._monotonic = clock, monotonic
        self._known: dict[str, Comparison] = {}
        self._task: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()

    def start(self) -> None:
        """Removes what a gateway that was killed has left in the folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        remove_left_behind(_KIND, self._folder)

    async def close(self) -> None:
        async with self._changing:
            await self._stop()

    async def begin(self, key_id: str, policy: str, since: str) -> Name:
        """In place of the key's own, if that still runs. Raises Problem."""
        if since not in RANGES:
            raise Problem(400, f"is not one of {', '.join(RANGES)}", "since")
        self._check_free(key_id)
        async with self._changing:
            self._check_free(key_id)  # (somebody may have come first meanwhile)
            await self._stop()
            return self._begin(key_id, policy, since)

    def _begin(self, key_id: str, policy: str, since: str) -> Name:
        self._forget_old()
        name = Name(uuid4().hex, self._gateway, self._run_id, since, self._clock())
        begun = self._known[name.id] = Comparison(name, key_id, policy)
        self._task = asyncio.create_task(self._compare(begun))
        self._task.add_done_callback(lambda _: self._end(begun))  # (one that was stopped at once hasn't begun)
        return name

    def _check_free(self, key_id: str) -> None:
        """Whether none runs but the key's own. Raises Problem."""
        if any(each.ended_at is None and each.key_id != key_id for each in self._known.values()):
            raise later("another comparison is running: try again when it has ended")

    def find(self, name: Name) -> Comparison | Absence:
        self._forget_old()
        known = self._known.get(name.id)
        if known is not None:
            return known
        if name.run == self._run_id:
            return "over"
        if name.gateway == self._gateway:
            return "restarted"
        is_over = self._clock() - name.at > (self._within_s + KEPT_S) * 1000
        return "over" if is_over else "elsewhere"

    def _forget_old(self) -> None:
        ended = [each for each in self._known.values() if each.ended_at is not None]
        for number, each in enumerate(reversed(ended)):
            if number >= _MOST_KEPT - 1 or self._monotonic() - (each.ended_at or 0.0) > KEPT_S:
                del self._known[each.name.id]

    async def _stop(self) -> None:
        """Cancels it once, and waits: what it keeps is gone then."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _compare(self, begun: Comparison) -> None:
        try:
            with scratch_folder(_KIND, self._folder) as folder:
                file = folder / "policy.yaml"
                file.write_text(begun.policy)
                since = begun.name.since
                asked = ("--policy", str(file), "--from", since, "--users", str(_USERS), "--json", "--supervised")
                begun.found = await self._run(begun, *asked, scratch=folder)
        except Problem as problem:
            begun.problem = problem
        except Exception:
            log.exception("a comparison failed")
            begun.problem = Problem(500, "it failed; the gateway's log says why")

    def _end(self, begun: Comparison) -> None:
        begun.ended_at = self._monotonic()
        if begun.found is None and begun.problem is None:
            begun.problem = Problem(409, "it was ended before it was done: another one was begun")

    async def _run(self, begun: Comparison, *options: str, scratch: Path) -> dict[str, Any]:
        """``scratch``: where it keeps users' data while it runs. Its standard input stays open for as long as this
        process lives, and it ends with that."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *options,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_MOST_LINE_BYTES,
            env={**os.environ, "NO_COLOR": "1", "TERM": "dumb", "TMPDIR": str(scratch)},
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(self._within_s):
                printed, last_line = await asyncio.gather(process.stdout.read(), _progress(process.stderr, begun))
                await process.wait()
        except TimeoutError:
            raise Problem(422, f"takes longer than {self._within_s:g} s: choose a shorter time", "since") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            raise Problem(422, last_line or "tocsin simulate failed")
        found: dict[str, Any] = msgspec.json.decode(printed)
        return found


class _Step(Struct, frozen=True):
    done: int
    total: int


async def _progress(stream: asyncio.StreamReader, begun: Comparison) -> str:
    """Takes down how far it is. Why a command failed is its last line that says anything else."""
    last = ""
    while line := await _line(stream):
        try:
            step = msgspec.json.decode(line, type=_Step)
            begun.done, begun.total = step.done, step.total
        except msgspec.MsgspecError:
            last = line.decode(errors="replace").strip()[:_MOST_CHARACTERS] or last
    return last


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next one; of one that is too long, a line that says so."""
    try:
        return await stream.readline()
    except ValueError:
        return b"(a line that is too long)"


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
