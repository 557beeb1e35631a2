"""A policy that would take too long to judge is refused by each route that takes one, before it is parsed."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from app.api import policy as route
from app.api.problems import Problem
from app.cli.output import Refused
from app.cli.policy import app as command
from app.cli.simulate import _parsed
from app.domain.catalog import default_catalog
from app.domain.policy import PolicyError, parse_policy, sizes
from app.store.config_follower import ConfigFollower
from schemas.config import PolicyVersion, encode_config
from schemas.topics import CONFIG
from tests.agents.harness import NOON
from tests.records import Record

#: Took 7 s.
DEEP = "[" * 20_000
#: 8,000 patterns took 15 s.
MANY = "event_types:\n" + "".join(f"  order.{n}*: {{}}\n" for n in range(8_000))
REFUSALS = [(DEEP, "nested more than 20 deep"), (MANY, "event_types: has 8000 entries; write at most 5000")]


async def _gateway(handler: Callable[[Any], Awaitable[Any]], text: str) -> str:
    async def body(_: int) -> bytes:
        return text.encode()

    config = SimpleNamespace(catalog=default_catalog())
    call: Any = SimpleNamespace(
        body=body, deps=SimpleNamespace(config=config, writer=SimpleNamespace(write_policy=None))
    )
    with pytest.raises(Problem) as refusal:
        await handler(call)
    assert refusal.value.status == 422
    return str(refusal.value.detail)


async def put(text: str, folder: Path) -> str:
    return await _gateway(route.put, text)


async def validate(text: str, folder: Path) -> str:
    return await _gateway(route.validate, text)


def _command(name: str) -> Callable[[str, Path], Awaitable[str]]:
    async def run(text: str, folder: Path) -> str:
        file = folder / "policy.yaml"
        file.write_text(text)
        answer = CliRunner().invoke(command, [name, str(file)])
        assert isinstance(answer.exception, Refused)
        return str(answer.exception)

    return run


async def simulate(text: str, folder: Path) -> str:
    file = folder / "policy.yaml"
    file.write_text(text)
    with pytest.raises(Refused) as refusal:
        _parsed(file, None)
    return str(refusal.value)


async def notify_config(text: str, folder: Path) -> str:
    """What lies on the topic already is read by every process."""
    follower = ConfigFollower({})
    version = PolicyVersion(version=7, text=text, at="2026-03-04T12:00:00Z")
    follower._take(Record(CONFIG, 0, 0, NOON, b"policy", encode_config(version)))
    await follower._settle()
    assert follower.catalog.policy_version == 0
    return await validate(text, folder)


ROUTES = [put, validate, _command("validate"), _command("diff"), simulate, notify_config]


@pytest.mark.parametrize("take", ROUTES, ids=["put", "validate", "cli-validate", "cli-diff", "simulate", "topic"])
@pytest.mark.parametrize(("text", "words"), REFUSALS, ids=["deep", "many"])
async def test_every_route_refuses_it(
    take: Callable[[str, Path], Awaitable[str]], text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOCSIN_CONFIG", raising=False)
    assert words in await take(text, tmp_path)


@pytest.mark.parametrize("text", [DEEP, "- " * 100_000, "{a: " * 20_000], ids=["brackets", "dashes", "maps"])
def test_the_parser_stops_at_the_limit_rather_than_at_the_end(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the text, few of its events are looked at."""
    seen = 0

    def counted(events: Any) -> None:
        original(_counting(events))

    def _counting(events: Any) -> Any:
        nonlocal seen
        for event in events:
            seen += 1
            yield event

    original = sizes.check_events
    monkeypatch.setattr("app.domain.policy.document.check_events", counted)
    with pytest.raises(PolicyError):
        parse_policy(text)
    assert 0 < seen <= 3 * sizes.MAX_DEPTH
