"""Runs many experiments one after the other: each seed on a system of its own, and none at another's expense."""

import asyncio
import shutil
import subprocess
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from faults.running import Result, revision, run_experiment
from faults.scene import Experiment
from faults.system import Faulty

#: An experiment that takes longer, even on a machine with much else to do, has failed, and the system with it.
_LIMIT_S = 1_700.0

Tell = Callable[[str], None]


class Session:
    """``async with Session(folder, jars) as session``: the system is started when it is needed, and left at the end."""

    def __init__(self, folder: Path, jars: Path, tell: Tell = lambda words: None) -> None:
        self._folder = folder
        self._jars = jars
        self._tell = tell
        self._stack = AsyncExitStack()
        self._system: Faulty | None = None

    async def __aenter__(self) -> "Session":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.renew()

    async def run(self, experiment: Experiment, seed: int, *, short: bool, audit: bool = True) -> Result:
        """Runs one experiment; one that can't be run to its end is told in the result, and gets the system replaced."""
        folder = self._folder / "runs" / f"{experiment.name}-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        started = time.monotonic()

        def say(words: str) -> None:
            self._tell(f"{experiment.name}, seed {seed}: {words} ({time.monotonic() - started:.0f} s)")

        try:
            async with asyncio.timeout(_LIMIT_S):
                system = await self._started(say)
                result = await run_experiment(experiment, system, seed, folder, short=short, audit=audit, say=say)
            await self._clean(system)
        except Exception as error:
            (folder / "error.txt").parent.mkdir(parents=True, exist_ok=True)
            (folder / "error.txt").write_text(traceback.format_exc())
            form = "short" if short else "long"
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            result = Result(experiment.name, seed, form, revision(), at, error=f"{type(error).__name__}: {error}")
            await self._keep_logs(folder)
            await self.renew()
        else:
            if not result.passed:
                await self._keep_logs(folder)
        result.duration_s = round(time.monotonic() - started, 1)
        return result

    async def renew(self) -> None:
        """Stops the system, so that the next experiment gets a new one."""
        stack, self._stack, self._system = self._stack, AsyncExitStack(), None
        await stack.aclose()

    async def _started(self, say: Tell) -> Faulty:
        if self._system is None:
            say("starts a new system")
            folder = self._folder / "system"
            _let_go_of(folder)
            shutil.rmtree(folder, ignore_errors=True)
            self._system = await self._stack.enter_async_context(Faulty(folder, self._jars))
        return self._system

    async def _clean(self, system: Faulty) -> None:
        await system.wire.heal()
        system.clock_off_by(0)
        await system.heal_provider()

    async def _keep_logs(self, folder: Path) -> None:
        logs = self._folder / "system" / "logs"
        if logs.exists():
            await asyncio.to_thread(shutil.copytree, logs, folder / "logs", dirs_exist_ok=True)


def _let_go_of(folder: Path) -> None:
    """Unmounts the small disks that a run which was killed has left in the folder."""
    try:
        mounted = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return
    for line in mounted:
        at = line.split()[1]
        if at.startswith(f"{folder.absolute()}/"):
            subprocess.run(("umount", "-l", at), check=True)


async def run_all(
    session: Session,
    experiments: Iterable[Experiment],
    seeds: Sequence[int],
    *,
    short: bool,
    limit_s: float,
    done: Callable[[Result], None],
    skip: Callable[[str, int], bool] = lambda name, seed: False,
) -> None:
    """All experiments with all seeds; ``done`` hears of each. What the time doesn't suffice for isn't run."""
    deadline = time.monotonic() + limit_s
    chosen = list(experiments)
    for seed in seeds:
        for experiment in chosen:
            if time.monotonic() < deadline and not skip(experiment.name, seed):
                done(await session.run(experiment, seed, short=short))
        await session.renew()
