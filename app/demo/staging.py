"""The stage: the demonstration's templates and policy are put in force, and afterwards what was in force before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import yaml

from app.defaults import default_policy_text
from app.demo.gateway import Gateway
from app.domain.policy.checks import duration_ms

#: Members of a policy that run as fast as the flights do.
_COMPRESSED = frozenset(("window", "max_wait", "wait", "expires_after"))
#: Less than this would tell more of the machine than of the rule.
_SHORTEST_MS, _WHOLE_SECONDS_FROM_MS = 1_000, 10_000
_IN_FORCE_WITHIN_S, _LOOK_EVERY_S = 60.0, 0.2


def demo_policy(speed: float) -> dict[str, Any]:
    """The default policy and what the demonstration adds to it, whose times are ``speed`` times as short."""
    policy: dict[str, Any] = yaml.safe_load(default_policy_text())
    ours = _compressed(_read("policy.yaml"), speed)
    caps = {cap["name"]: cap for cap in (*policy["caps"], *ours.pop("caps"))}
    changed = {name: {**policy[name], **section} for name, section in ours.items()}
    return {**policy, **changed, "caps": list(caps.values())}


def demo_templates() -> dict[str, Any]:
    """The documents of the demonstration's templates, by id."""
    folder = files(__package__).joinpath("templates")
    return {file.name.removesuffix(".yaml"): yaml.safe_load(file.read_text("utf-8")) for file in folder.iterdir()}


@asynccontextmanager
async def staged(gateway: Gateway, speed: float) -> AsyncIterator[None]:
    """Inside, the demonstration's policy is in force in every router; templates stay."""
    before = (await gateway.operator.policy.get()).policy
    for name, document in demo_templates().items():
        await gateway.operator.templates.put(name, channels=document["channels"], variants=document.get("variants"))
    await _put_in_force(gateway, demo_policy(speed))
    try:
        yield
    finally:
        await _put_in_force(gateway, before)


async def _put_in_force(gateway: Gateway, policy: dict[str, Any]) -> None:
    document = await gateway.operator.policy.put(policy)
    async with asyncio.timeout(_IN_FORCE_WITHIN_S):
        while not document.in_force:
            await asyncio.sleep(_LOOK_EVERY_S)
            document = await gateway.operator.policy.get()


def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(files(__package__).joinpath(name).read_text("utf-8"))
    return document


def _compressed(document: Any, speed: float) -> Any:
    if isinstance(document, list):
        return [_compressed(each, speed) for each in document]
    if not isinstance(document, dict):
        return document
    return {
        name: _faster(value, speed) if name in _COMPRESSED else _compressed(value, speed)
        for name, value in document.items()
    }


def _faster(duration: str, speed: float) -> str:
    ms = max(_SHORTEST_MS, round(duration_ms(duration) / speed))
    return f"{ms}ms" if ms < _WHOLE_SECONDS_FROM_MS else f"{round(ms / 1000)}s"
