"""Runs one experiment on a system that runs: load, faults, healing, quiet, and the verdict of the checker."""

import asyncio
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from aiokafka.errors import KafkaError

from app.demo.balance import balance
from app.store.announcement import announced_url
from faults.auditing import audited
from faults.checker import judge
from faults.load import Load
from faults.observing import Observer
from faults.policy import POLICY, SETTLE_S, SLACK_MS, SLACK_SHORT_MS, TIMEOUT_S
from faults.record import Record, unix_ms
from faults.rollups import rolled_up
from faults.scene import Experiment, Finding, Scene
from faults.system import Faulty

#: How long after the last fault everything may take to end.
_QUIET_LIMIT_S = 400.0
_LOOK_EVERY_S = 0.5
#: These end by themselves, and what they become would be written while the run is judged.
_WAITS = frozenset(("scheduled", "held", "retrying"))


@dataclass(slots=True)
class Result:
    """What came of one experiment, as it is written to results.json."""

    name: str
    seed: int
    form: str
    revision: str
    at: str
    duration_s: float = 0.0
    load: Mapping[str, Any] = field(default_factory=dict)
    invariants: list[Mapping[str, Any]] = field(default_factory=list)
    #: Why it could not be judged, if so.
    error: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.error is None and {each["verdict"] for each in self.invariants} == {"pass"}


async def run_experiment(
    experiment: Experiment,
    system: Faulty,
    seed: int,
    folder: Path,
    *,
    short: bool,
    audit: bool,
    say: Callable[[str], None],
) -> Result:
    """Raises what went wrong with the experiment itself; what the system did wrong is in the result. ``audit``: whether
    the system is audited in the end, with all that was done to it since it was started."""
    started, shape = time.monotonic(), experiment.shape(short)
    result = Result(experiment.name, seed, "short" if short else "long", revision(), _now())
    random = Random(f"{experiment.name}:{seed}")
    record = Record(folder, system.sandbox_folder)
    run = f"{experiment.name}-{seed}-{record.started_ms % 10**8:x}"
    load = Load(system.dev.state, record, run, shape, random, system.dev.settings.kafka.partitions)
    observer = Observer(system.dev.state.kafka_bootstrap, record)
    scene = Scene(system, load, record, observer, random, short, shape.notifications // experiment.parts, say=say)
    await observer.start()
    system.record = record
    try:
        await system.break_provider(provider="*", action="error", fraction=shape.errors, seed=seed)
        await _under_load(experiment, scene)
        await system.heal_provider()
        say("waits until all is quiet")
        await _quiet(scene)
        if experiment.after is not None:
            await experiment.after(scene)
    finally:
        system.record = None
        await observer.stop()
        record.finish(_terms(experiment, seed, system, short))
    say("is judged")
    verdicts = [each.as_json() for each in await asyncio.to_thread(judge, folder)]
    result.invariants = verdicts + [_as_json(finding) for finding in scene.findings]
    result.invariants.append(await asyncio.to_thread(rolled_up, system.dev.settings.data.dir))
    system.letters += observer.dead
    if audit:
        say("is audited")
        result.invariants.append(await audited(system, system.letters))
    result.load = {
        "notifications": len({(line["notification_id"], line["user_id"]) for line in record.accepted}),
        "acknowledged": len(record.accepted),
        "commands": load.commanded,
        "a_second": shape.rate,
        "provider_errors": shape.errors,
        "events": len({event["event_id"] for event in observer.events}),
    }
    result.extra = {"faults": _counted(record), **scene.extra}
    result.duration_s = round(time.monotonic() - started, 1)
    return result


async def _under_load(experiment: Experiment, scene: Scene) -> None:
    """The load goes on for as long as things are being broken."""
    loading = asyncio.create_task(scene.load.run())
    acting = asyncio.create_task(experiment.act(scene))
    try:
        scene.say("is under load")
        await asyncio.wait((loading, acting), return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
        await acting
        scene.load.end()
        await loading
    finally:
        for task in (loading, acting):
            task.cancel()
        await asyncio.gather(loading, acting, return_exceptions=True)


async def _quiet(scene: Scene) -> None:
    """Until every process is ready, nothing is open and nobody lags; what is still open then is a finding."""
    await scene.system.ready()
    started = time.monotonic()
    expected = {(line["notification_id"], line["user_id"]) for line in scene.record.accepted}
    while True:
        kept = balance(expected, scene.observer.events)
        waiting = sum(count for (_, status, _), count in kept.outcomes.items() if status in _WAITS)
        lag = await _lag(scene) if not kept.open and not waiting else {}
        stuck = sum(lag.values())
        if not kept.open and not waiting and not stuck:
            break
        if time.monotonic() - started > _QUIET_LIMIT_S:
            scene.extra["open"] = [
                *kept.open[:10],
                f"{waiting} wait",
                *(f"{group}: {n} behind" for group, n in lag.items() if n),
            ]
            break
        await asyncio.sleep(_LOOK_EVERY_S)
    scene.extra["quiet_after_s"] = round(time.monotonic() - started, 1)
    scene.found("OPEN", "what isn't done, nor waits for a stated time, long after the last fault", len(kept.open))
    scene.found("LAG", "records that a role never committed, with all quiet", stuck)


async def _lag(scene: Scene) -> Mapping[str, int]:
    try:
        return await scene.observer.lag()
    except (KafkaError, OSError, TimeoutError):
        return {"kafka": 1}


def _terms(experiment: Experiment, seed: int, system: Faulty, short: bool) -> dict[str, Any]:
    return {
        "name": experiment.name,
        "seed": seed,
        "bootstrap": system.dev.state.kafka_bootstrap,
        "clickhouse_url": announced_url(system.dev.settings.data.dir),
        "partitions": system.dev.settings.kafka.partitions,
        "in_doubt_settle_ms": SETTLE_S * 1000,
        "timeout_ms": TIMEOUT_S * 1000,
        "slack_ms": SLACK_SHORT_MS if short else SLACK_MS,
        "policy": POLICY,
        "quiesced_ms": unix_ms(),
        "topics": "notify_*",
        "offset_samples": "offsets.jsonl",
    }


def _counted(record: Record) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in record.injected:
        name = line["fault"] if line["role"] is None else f"{line['fault']} {line['role']}"
        counts[name] = counts.get(name, 0) + 1
    return counts


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "means": finding.means,
        "value": finding.value,
        "bound": finding.bound,
        "verdict": "pass" if finding.value <= finding.bound else "FAIL",
    }


def revision() -> str:
    """The source's, with a plus where it has changes that aren't committed."""
    say = ("git", "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude", "*")
    done = subprocess.run(say, capture_output=True, text=True, cwd=Path(__file__).parent)
    return done.stdout.strip() or "unknown"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
