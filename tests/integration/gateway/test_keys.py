"""API keys on a real broker: what one gateway makes and revokes counts at the other, and survives restarts."""

import asyncio
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from typer.testing import CliRunner

from app.cli.keys import app
from app.config import Settings
from tests.calling import bearer
from tests.conftest import eventually
from tests.integration.gateway.conftest import KEYS, Caller, OwnBroker, served

#: 2 s are promised; a busy machine may take longer.
_LIMIT_S = 60.0
REQUEST = {"user_id": "ada", "event_type": "order.shipped", "content": {"title": "t", "body": "b"}}
DOCS = Path(__file__).parents[3] / "docs"


async def make(gateway: Caller, key_id: str, *scopes: str, **given: Any) -> str:
    reply = await gateway.key("ops")("POST", "/v1/keys", {"id": key_id, "scopes": scopes, **given})
    assert reply.status == 201, reply.document
    return str(reply.document["key"])


async def sends(gateway: Caller, key: str, event_type: str = "order.shipped") -> int:
    as_key = Caller(gateway.session, gateway.url, bearer(key))
    return (await as_key("POST", "/v1/notifications", {**REQUEST, "event_type": event_type})).status


def is_sent(gateway: Caller, key: str, status: int) -> Callable[[], Any]:
    async def so_it_is() -> bool:
        return await sends(gateway, key) == status

    return so_it_is


async def test_what_one_gateway_does_counts_at_the_other_and_after_a_restart(
    gateway: Caller, settings: Settings
) -> None:
    async with served(settings) as url, aiohttp.ClientSession() as session:
        other = Caller(session, url)
        old = await make(gateway, "blog", "send:order.*", source="blog")
        assert await sends(gateway, old) == 202
        await eventually(is_sent(other, old, 202), _LIMIT_S)
        assert await sends(other, old, "sale.began") == 403

        rotated = await other.key("ops")("POST", "/v1/keys/blog/rotate", {"overlap": "1h"})
        new = rotated.document["key"]
        assert [await sends(other, key) for key in (old, new)] == [202, 202]
        await eventually(is_sent(gateway, new, 202), _LIMIT_S)
        assert await sends(gateway, old) == 202

        revoked = await make(gateway, "gone", "send")
        await eventually(is_sent(other, revoked, 202), _LIMIT_S)
        assert (await gateway.key("ops")("DELETE", "/v1/keys/gone")).status == 204
        assert await sends(gateway, revoked) == 401
        await eventually(is_sent(other, revoked, 401), _LIMIT_S)
        assert (await other.key("ops")("POST", "/v1/keys/gone/rotate")).status == 404

    async with served(settings) as url, aiohttp.ClientSession() as session:
        again = Caller(session, url)
        assert [await sends(again, key) for key in (old, new, revoked)] == [202, 202, 401]
        shown = (await again.key("ops")("GET", "/v1/keys/blog")).document
        assert [secret["last_used_at"] is not None for secret in shown["secrets"]] == [True, True]
        assert (await again.key("ops")("DELETE", "/v1/keys/blog")).status == 204
    log = (await gateway.key("ops")("GET", "/v1/audit-log", query={"action": "key"})).document["entries"]
    assert [entry["action"] for entry in log[:5]] == [
        "key.revoke", "key.revoke", "key.create", "key.rotate", "key.create"
    ]  # fmt: skip
    assert not any(key.partition(".")[2] in json.dumps(log) for key in (old, new, revoked))


async def test_uses_are_known_to_the_next_gateway(settings: Settings) -> None:
    async with served(settings) as url, aiohttp.ClientSession() as session:
        assert await sends(Caller(session, url), KEYS["auth"][0]) == 202
    async with served(settings) as url, aiohttp.ClientSession() as session:
        listed = (await Caller(session, url).key("ops")("GET", "/v1/keys")).document["keys"]
    assert next(key for key in listed if key["id"] == "auth")["last_used_at"] is not None


async def test_two_gateways_never_both_make_a_key(gateway: Caller, settings: Settings) -> None:
    async with served(settings) as url, aiohttp.ClientSession() as session:
        both = (gateway, Caller(session, url))
        body = {"id": "twin", "scopes": ["send"]}
        replies = await asyncio.gather(*(each.key("ops")("POST", "/v1/keys", body) for each in both for _ in range(3)))
        made = [reply.document["key"] for reply in replies if reply.status == 201]
        assert sorted(reply.status for reply in replies) == [201, *[409] * 5]
        for each in both:
            await eventually(is_sent(each, made[0], 202), _LIMIT_S)
    assert (await gateway.key("ops")("DELETE", "/v1/keys/twin")).status == 204


async def test_while_kafka_does_not_answer_no_key_changes(gateway: Caller, broker: OwnBroker) -> None:
    reader = await make(gateway, "reader", "admin:read")
    ops, as_reader = gateway.key("ops"), Caller(gateway.session, gateway.url, bearer(reader))
    with broker.frozen():
        for asked in (ops("POST", "/v1/keys", {"id": "frozen", "scopes": ["send"]}), ops("DELETE", "/v1/keys/reader")):
            assert (await asked).status == 503
        assert (await as_reader("GET", "/v1/keys")).status == 200
    assert (await ops("GET", "/v1/keys/frozen")).status == 404
    assert (await ops("DELETE", "/v1/keys/reader")).status == 204


@pytest.fixture
def log_apart() -> Iterator[None]:
    """The gateway runs in this process: its log isn't what a command prints."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("log_apart")
async def test_the_commands_of_the_docs_make_rotate_and_revoke_keys(
    gateway: Caller, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TOCSIN_GATEWAY__PUBLIC_URL", gateway.url)
    monkeypatch.setenv("TOCSIN_API_KEY", KEYS["ops"][0])

    async def run(*arguments: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, arguments)

    [block] = re.findall(r"```sh\n(tocsin keys create [^`]*--gateway[^`]*)```", (DOCS / "commands.md").read_text())
    commands = [shlex.split(line, comments=True)[2:] for line in block.replace("\\\n", " ").splitlines()]
    assert [command[0] for command in commands] == ["create", "list", "rotate", "revoke"]
    outputs = [await run(*command) for command in commands]
    assert [answer.exit_code for answer in outputs] == [0, 0, 0, 0], [answer.output for answer in outputs]
    made, listed, rotated, revoked = (answer.stdout for answer in outputs)
    name = made.partition(".")[0]
    assert len(made.strip().partition(".")[2]) == len(rotated.strip().partition(".")[2]) == 43
    assert made != rotated
    assert name in listed
    assert name in revoked
    assert made.strip() not in listed

    wrong = {
        ("create", "x", "--scope", "all", "--gateway"): "scopes",
        ("create", "a b", "--scope", "send", "--gateway"): "id",
        ("create", "x", "--scope", "send", "--expires", "soon", "--gateway"): "--expires",
        ("create", "x", "--scope", "send", "--expires", "2020-01-01T00:00:00Z", "--gateway"): "expires_at",
        ("rotate", "ops"): "id",
        ("rotate", "nobody"): "not known",
        ("revoke", "nobody", "--gateway"): "not known",
    }
    for arguments, word in wrong.items():
        answer = await run(*arguments)
        assert (answer.exit_code, word in str(answer.exception)) == (1, True), (arguments, answer.exception)
    shown = json.loads((await run("list", "--gateway", "--json")).stdout)
    assert {key["id"] for key in shown} >= set(KEYS)
    assert json.loads((await run("list", "--json")).stdout)[0].keys() == {"id", "source", "scopes"}
