"""Commands that call the gateway, as a person runs them."""

import asyncio
import json
import os
import re
import shlex
import sys
from datetime import UTC, datetime, timedelta
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
    assert ran.err.endswith("is stored, but not yet used by router/stuck\n")


async def test_a_policy_that_can_not_be_is_told_by_line_and_remedy(tocsin: Tocsin, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("categories:\n  other: {channels: [pigeon]}\n")
    valid = await tocsin("policy", "validate", str(file))
    applied = await tocsin("policy", "apply", str(file), key="ops")

    for ran in (valid, applied):
        assert ran.status == 1
        assert "2: categories.other.channels[0]: " in ran.err


async def test_a_campaign_is_sent_from_a_file_and_resumed_after_its_canary(tocsin: Tocsin, tmp_path: Path) -> None:
    users = tmp_path / "users.csv"
    users.write_text("user_id,name\n" + "".join(f"c{n},N{n}\n" for n in range(300)) + "bad\n")
    said = ("--event-type", "note.made", "--title", "a", "--body", "b", "--channel", "in_app", "--campaign", "cli")
    sent = await tocsin("campaign", "send", str(users), *said, "--canary", "50%")
    assert (sent.status, sent.out.splitlines()[0]) == (0, "campaign cli: paused"), sent.err
    assert "line 302: has 1 columns, the header has 2" in sent.err
    resumed = await tocsin("campaign", "resume", "cli")
    assert (resumed.status, resumed.out.splitlines()[0]) == (0, "campaign cli: done"), resumed.err
    assert "300 of 300 recipients produced, 1 rows refused" in resumed.out

    async def is_delivered() -> bool:
        shown = json.loads((await tocsin("campaign", "show", "cli", "--json")).out)
        return bool(shown["delivery"].get("in_app", {}).get("sent") == 300)

    await eventually(is_delivered, 60)
    again = await tocsin("campaign", "send", str(users), *said, "--canary", "50%", "--no-wait")
    other = await tocsin("campaign", "send", str(users), *said, "--no-wait")
    paused = await tocsin("campaign", "pause", "cli")
    assert (again.status, again.out) == (0, "cli: done\n"), again.err
    assert (other.status, other.err) == (1, "tocsin: canary: differs from the campaign that has this name (409)\n")
    assert (paused.status, paused.err) == (1, "tocsin: status: the campaign is done (409)\n")
    assert (await tocsin("campaign", "list", "--json")).out.count('"campaign_id": "cli"') == 1


async def test_the_pages_command_sends_a_campaign(tocsin: Tocsin, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "campaigns.md").read_text()
    [command] = [block for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if block.startswith("tocsin")]
    words = shlex.split(command.replace("\\\n", " "))[1:]
    users = tmp_path / "users.csv"
    users.write_text("user_id\n" + "".join(f"page{n}\n" for n in range(300)))

    sent = await tocsin(*(str(users) if word == users.name else word for word in words))

    assert (sent.status, sent.out.splitlines()[0]) == (0, "campaign spring: paused"), sent.err
    assert (await tocsin("campaign", "cancel", "spring")).status == 0


async def test_a_segment_is_found_and_what_waits_of_it_is_cancelled(tocsin: Tocsin, gateway: Caller) -> None:
    ops, shop = gateway.key("ops"), gateway.key("shop")
    for number in range(12):
        body = {"attributes": {"plan": "segment" if number % 2 else "none"}}
        assert (await ops("PATCH", f"/v1/users/seg{number}/profile", body)).status == 200
    among = ("--segment", json.dumps({"attributes": {"plan": "segment"}}), "--event-type", "note.made")
    later = f"{(datetime.now(UTC) + timedelta(hours=12)):%H:%M}"
    content = ("--title", "a", "--body", "b", "--channel", "in_app", "--local-time", later, "--canary", "50%")
    begun = await tocsin("campaign", "send", *among, *content, "--campaign", "segment", "--no-wait", "--json")
    assert begun.status == 0, begun.err
    name = json.loads(begun.out)["notification_id"]

    async def is_paused() -> bool:
        shown = (await shop("GET", "/v1/campaigns/segment")).document
        return bool((shown["status"], shown["recipients"], shown["produced"]) == ("paused", 6, 3))

    await eventually(is_paused, 60)
    cancelled = await tocsin("campaign", "cancel", "segment")
    assert (cancelled.status, cancelled.out) == (0, "cancelled\n"), cancelled.err

    async def has_ended() -> bool:
        reply = await shop("GET", f"/v1/notifications/{name}")
        ended = reply.status == 200 and reply.document["status"] == "done"
        return bool(ended and reply.document["recipients"] == 3)

    await eventually(has_ended, 60)
    events = (await shop("GET", f"/v1/notifications/{name}/events")).document["events"]
    assert {event["status"] for event in events} == {"accepted", "scheduled", "cancelled"}
