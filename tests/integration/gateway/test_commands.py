"""Commands that call the gateway, as a person runs them."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from app.api.gateway import unix_ms
from app.config import Settings, installation_secret
from app.store.owners import Owner, announce
from app.store.publisher import KafkaPublisher
from tests.conftest import eventually
from tests.integration.gateway.conftest import KEYS, Caller

pytestmark = pytest.mark.usefixtures("workers")

POLICY = "categories:\n  other: {channels: [in_app]}\n"


class Ran(NamedTuple):
    status: int
    out: str
    err: str


class Tocsin:
    """The command line against one gateway."""

    def __init__(self, environ: dict[str, str], url: str) -> None:
        self._environ = {**os.environ, **environ, "TOCSIN_GATEWAY__PUBLIC_URL": url}

    async def __call__(self, *arguments: str, key: str = "shop") -> Ran:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.cli", *arguments),
            env={**self._environ, "TOCSIN_API_KEY": KEYS[key][0]},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())


@pytest.fixture
def tocsin(environ: dict[str, str], gateway: Caller) -> Tocsin:
    return Tocsin(environ, gateway.url)


async def test_what_was_sent_is_followed_to_its_end_and_explained(tocsin: Tocsin) -> None:
    content = ("--title", "Hello", "--body", "World", "--channel", "in_app")
    sent = await tocsin("send", "--user", "cleo", "--event-type", "note.made", *content, "--wait")
    notification_id = sent.out.split()[0]
    why = await tocsin("why", notification_id)
    as_json = await tocsin("why", notification_id, "--user", "cleo", "--json")

    assert (sent.status, why.status, as_json.status) == (0, 0, 0), sent.err + why.err + as_json.err
    assert [line.split()[2:][-1] for line in sent.out.splitlines()[1:]] == ["accepted", "queued", "sending", "sent"]
    assert why.out.startswith("cleo: Sent by in_app.\n  in_app: sent\n    yes")
    assert json.loads(as_json.out)["channels"]["in_app"]["outcome"] == "sent"


async def test_the_same_key_sends_once(tocsin: Tocsin) -> None:
    arguments = ("send", "--user", "cora", "--event-type", "note.made", "--title", "a", "--body", "b", "--key", "k1")

    assert (await tocsin(*arguments)).out == (await tocsin(*arguments)).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--event-type", "not one", "--title", "a", "--body", "b"), "event_type: "),
        (("--event-type", "x", "--title", "a"), "--title and --body go together"),
        (("--event-type", "x", "--data", "["), "--data is not JSON"),
        (("--event-type", "x", "--template", "nonsense"), "template_id: there is no template nonsense (422)"),
    ],
)
async def test_what_is_refused_is_one_line_and_status_1(tocsin: Tocsin, arguments: tuple[str, ...], said: str) -> None:
    ran = await tocsin("send", "--user", "cleo", *arguments)

    assert (ran.status, ran.out, len(ran.err.splitlines())) == (1, "", 1)
    assert said in ran.err


async def test_a_key_that_may_not_says_so(tocsin: Tocsin) -> None:
    ran = await tocsin("templates", "list", key="shop")

    assert (ran.status, ran.err) == (1, "tocsin: this key lacks the scope admin (403)\n")


async def test_no_gateway_is_said_with_its_address(environ: dict[str, str]) -> None:
    ran = await Tocsin(environ, "http://127.0.0.1:1")("templates", "list", key="ops")

    assert ran.status == 1
    assert "the gateway at http://127.0.0.1:1 can't be reached" in ran.err


async def test_templates_are_applied_once_listed_and_shown(tocsin: Tocsin, tmp_path: Path) -> None:
    (tmp_path / "welcome.yaml").write_text("channels: {sms: {en: {body: 'Welcome {{ name }}'}}}\n")
    first = await tocsin("templates", "apply", str(tmp_path), key="ops")
    again = await tocsin("templates", "apply", str(tmp_path / "welcome.yaml"), key="ops")
    listed = await tocsin("templates", "list", "--json", key="ops")
    shown = await tocsin("templates", "preview", "welcome", "--data", '{"name": "Ada"}', key="ops")

    assert first.out == "welcome: version 1\n", first.err
    assert again.out == "welcome: unchanged, version 1\n"
    assert "welcome" in [template["id"] for template in json.loads(listed.out)]
    assert "Welcome Ada" in shown.out


@pytest.mark.usefixtures("policy_changes")
async def test_a_policy_is_applied_when_it_is_in_force(tocsin: Tocsin, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    applied = await tocsin("policy", "apply", str(file), key="ops")
    same = await tocsin("policy", "diff", str(file), key="ops")
    file.write_text(POLICY + "  orders: {channels: [push]}\n")
    different = await tocsin("policy", "diff", str(file), key="ops")

    assert applied.status == 0, applied.err
    assert same.out.startswith("Nothing would change: version ")
    assert applied.out.endswith(" is in force.\n")
    assert "categories.orders (new)" in different.out


@pytest.mark.usefixtures("policy_changes")
async def test_a_router_that_does_not_take_a_policy_over_is_named(
    tocsin: Tocsin, producer: KafkaPublisher, settings: Settings, gateway: Caller, tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)

    def stuck(at: int) -> Owner:
        return Owner(role="router", instance="stuck", partitions=[], url="", policy_version=0, at=at)

    secret = installation_secret(settings)
    telling = asyncio.create_task(announce(producer, stuck, asyncio.Event(), secret, unix_ms))

    async def is_waited_for() -> bool:
        return "router/stuck" in (await gateway.key("ops")("GET", "/v1/policy")).document["waiting_for"]

    await eventually(is_waited_for)
    ran = await tocsin("policy", "apply", str(file), "--timeout", "0.5", key="ops")
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)

    assert ran.status == 1
    assert ran.err.endswith("is written, but not taken over by router/stuck\n")


async def test_a_policy_that_can_not_be_is_told_by_line_and_remedy(tocsin: Tocsin, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("categories:\n  other: {channels: [pigeon]}\n")
    valid = await tocsin("policy", "validate", str(file))
    applied = await tocsin("policy", "apply", str(file), key="ops")

    for ran in (valid, applied):
        assert ran.status == 1
        assert "2: categories.other.channels[0]: " in ran.err
