"""``tocsin policy`` against a gateway: templates are asked for, differences shown, a version put in force."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

from app.cli.output import Refused
from app.cli.policy import app
from app.defaults import default_policy_text
from tests.integration.gateway.conftest import KEYS, Caller

pytestmark = pytest.mark.usefixtures("workers")

Command = Callable[..., Awaitable[Result]]


@pytest.fixture
def command(
    gateway: Caller, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    """Runs ``tocsin policy …`` as an operator would, beside the gateway, whose log isn't what the command prints."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    monkeypatch.chdir(tmp_path)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TOCSIN_GATEWAY__PUBLIC_URL", gateway.url)
    monkeypatch.setenv("TOCSIN_API_KEY", KEYS["ops"][0])

    async def run(*arguments: str) -> Result:
        return await asyncio.to_thread(lambda: CliRunner().invoke(app, arguments))

    yield run
    structlog.reset_defaults()


def written(text: str) -> str:
    Path("policy.yaml").write_text(text, encoding="utf-8")
    return "policy.yaml"


async def test_a_template_that_the_gateway_does_not_know_is_refused(command: Command) -> None:
    known = await command("validate", written(default_policy_text()))
    unknown = await command("validate", written("event_types: {a: {template: order_shiped}}"))

    assert known.output == "policy.yaml is a valid policy.\n"
    assert isinstance(unknown.exception, Refused)
    assert "did you mean order_shipped?" in str(unknown.exception)


async def test_differences_are_shown_by_rule_and_as_json(command: Command) -> None:
    file = written(default_policy_text().replace("limit: 50, window: 24h", "limit: 60, window: 1d"))
    shown, as_json = await command("diff", file), await command("diff", file, "--json")
    same = await command("diff", written(default_policy_text().replace("48h", "2d")))

    assert shown.output.splitlines()[1:] == ["caps.user-day", "  limit: 50 → 60"]
    assert json.loads(as_json.output)["changes"] == [
        {"rule": "caps.user-day", "key": "limit", "rule_is": "changed", "old": 50, "new": 60}
    ]
    assert same.output.splitlines()[-1].startswith("Nothing would change")


@pytest.mark.usefixtures("policy_changes")
async def test_apply_returns_when_the_router_has_taken_it_over(command: Command, gateway: Caller) -> None:
    applied = await command("apply", written(default_policy_text().replace("limit: 50", "limit: 70")))
    document = (await gateway.key("ops")("GET", "/v1/policy")).document

    assert applied.exit_code == 0
    assert applied.output.splitlines()[-1] == f"Version {document['version']} is in force."
    assert document["in_force"]


async def test_apply_of_what_is_refused_tells_why_and_writes_nothing(command: Command, gateway: Caller) -> None:
    before = (await gateway.key("ops")("GET", "/v1/policy")).document["version"]
    refused = await command("apply", written("timezone: UTC\ncategories: {a: {digest: nothing}}"))

    assert isinstance(refused.exception, Refused)
    assert str(refused.exception).startswith("line 2: categories.a.digest: ")
    assert (await gateway.key("ops")("GET", "/v1/policy")).document["version"] == before
