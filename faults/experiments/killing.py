"""Processes that are killed: at random moments, at every step of a checkpoint and of a call; and politely stopped."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from app.streaming import failpoints
from app.wiring import KEEPING, ROLES
from faults.scene import Experiment, Scene
from faults.system import SENDERS
from schemas.instants import parse_ms

_EVERYONE = ("gateway", *ROLES)
_CHECKPOINT = ("before_journal", "after_journal", "amid_outputs", "after_outputs", "after_store", "before_commit")
_CALL = ("before_call", "during_call", "after_reply")
#: So long the providers take to answer, that a call can be interrupted after its request went out.
_ANSWER_MS = 300
_REACHED_S = 240.0
_READY_S = 30.0
#: A call begins less than a second after its claim, or isn't made (``agents.sender.calls.FRESH_MS``); the rest is for
#: the checkpoint between them, and for who notices the death late on a loaded machine.
_BEGUN_WITHIN_MS, _BEGUN_WITHIN_SHORT_MS = 5_000, 30_000
#: What a sender had claimed when it died and not begun: a checkpoint of each of the eight partitions, which at this
#: load has a claim or two.
_IN_HANDS = 16


async def _kill_at_random(scene: Scene) -> None:
    rounds = 1 if scene.short else 2
    victims = [name for _ in range(rounds) for name in scene.random.sample(_EVERYONE, len(_EVERYONE))]
    watching: dict[str, asyncio.Task[float]] = {}
    for name in victims:
        await scene.pause(0.1, 0.8 if scene.short else 2.5)
        await scene.system.until(lambda name=name: scene.system.is_alive(name), 15.0)  # type: ignore[misc]
        scene.system.kill(name)
        watching.setdefault(name, asyncio.create_task(_seconds_until_ready(scene, name)))
    seconds = dict(zip(watching, await asyncio.gather(*watching.values()), strict=True))
    scene.extra["ready_after_s"] = {name: round(each, 1) for name, each in seconds.items()}
    if not scene.short:  # (whose time says as much of the tests beside it)
        late = sum(each > _READY_S for each in seconds.values())
        scene.found("READY", "roles that were not ready again 30 s after a kill -9", late)


async def _seconds_until_ready(scene: Scene, name: str) -> float:
    """A role that has its state is ready again within 30 s. A second kill meanwhile counts as part of the same end."""
    began = time.monotonic()
    process = scene.system.dev.processes[name]
    before = process.restarts
    await scene.system.until(lambda: process.restarts > before, _REACHED_S)
    await scene.system.ready([name])
    return time.monotonic() - began


async def _stop_one_after_the_other(scene: Scene) -> None:
    """Each is back before the next goes."""
    names = scene.random.sample(KEEPING, len(KEEPING)) if not scene.short else ["email"]
    for name in names:
        scene.say(f"stops {name}")
        await scene.system.restart([name])


async def _crash_at_every_step(scene: Scene) -> None:
    await scene.system.break_provider(provider="*", action="latency", ms=_ANSWER_MS)
    roles = ("router", "in_app", *SENDERS)
    reached = await asyncio.gather(*(_crash_one(scene, role) for role in roles))
    scene.extra["crashes"] = {role: points for role, (points, _) in zip(roles, reached, strict=True)}
    scene.found(
        "UNREACHED", "crash points that were armed and at which no process died", sum(missed for _, missed in reached)
    )


async def _crash_one(scene: Scene, role: str) -> tuple[list[str], int]:
    """Arms one point after the other in a role's process, and waits until it dies there."""
    points = _points_of(role)
    died, missed = [], 0
    for point in scene.random.sample(points, 1 if scene.short else len(points)):
        armed = f"{point}:{scene.random.randint(1, 5)}"
        await scene.system.stop(role)
        scene.system.start(role, {failpoints.VARIABLE: armed})
        supervised = scene.system.dev.processes[role]
        if await scene.system.until(lambda of=supervised: of.restarts > 0, _REACHED_S):  # type: ignore[misc]
            died.append(armed)
        else:
            missed += 1
    await scene.system.restart([role])
    return died, missed


def _points_of(role: str) -> tuple[str, ...]:
    """Every step for router and inbox. The senders, whose code is the same, share theirs out."""
    if role not in SENDERS:
        return _CHECKPOINT
    return (*_CHECKPOINT, *_CALL)[SENDERS.index(role) :: len(SENDERS)]


# --- doubts after a death -----------------------------------------------------------------------------------------


async def _doubts_are_of_calls(scene: Scene) -> None:
    """What is in doubt after a death was about to be called then: claims don't wait (decision 11)."""
    calls = (json.loads(line) for line in (scene.system.sandbox_folder / "calls.jsonl").read_text().splitlines())
    called = {call["send_id"] for call in calls if call["operation"] == "send"}
    deaths: dict[str, list[int]] = {
        role: [
            each["at_ms"] for each in scene.record.injected if each["fault"] == "process_ended" and each["role"] == role
        ]
        for role in SENDERS
    }
    within_ms = _BEGUN_WITHIN_SHORT_MS if scene.short else _BEGUN_WITHIN_MS
    doubts, never, early = uncalled(scene.observer.events, called, deaths, within_ms)
    scene.extra["doubts_by_crash"] = {"all": doubts, "never_called": never}
    ended = sum(map(len, deaths.values()))
    scene.found("UNCALLED", "sends in doubt by a crash that no provider ever saw", never, _IN_HANDS * ended)
    scene.found("CLAIMED_EARLY", f"such sends that were claimed {within_ms} ms and more before the process died", early)


def uncalled(
    events: Iterable[Mapping[str, Any]],
    called: set[str | None],
    deaths: Mapping[str, list[int]],
    within_ms: int = _BEGUN_WITHIN_MS,
) -> tuple[int, int, int]:
    """How many sends were in doubt by a crash, how many of these were never called, and how many of these again were
    claimed long before the next death of their role (Unix ms)."""
    claimed: dict[str, int] = {}
    doubted: dict[str, tuple[str, int]] = {}
    for event in sorted(events, key=lambda each: str(each["occurred_at"])):
        if event["status"] == "sending":
            claimed[event["send_id"]] = parse_ms(event["occurred_at"])
        elif event["status"] == "in_doubt" and event["reason"] == "crash":
            doubted[event["send_id"]] = event["channel"], claimed.get(event["send_id"], 0)
    never = {send_id: of for send_id, of in doubted.items() if send_id not in called}
    early = sum(
        not any(claimed_at <= death <= claimed_at + within_ms for death in deaths.get(channel, ()))
        for channel, claimed_at in never.values()
    )
    return len(doubted), len(never), early


EXPERIMENTS = (
    Experiment(
        "kills",
        "kill -9 of every role, the gateway and analytics too, at random moments.",
        _kill_at_random,
        after=_doubts_are_of_calls,
    ),
    Experiment(
        "crash_points",
        "kill -9 of router, inbox and senders at every step of a checkpoint and of a provider call.",
        _crash_at_every_step,
        after=_doubts_are_of_calls,
    ),
    Experiment("restarts", "SIGTERM and a new start of one role after the other.", _stop_one_after_the_other),
)
