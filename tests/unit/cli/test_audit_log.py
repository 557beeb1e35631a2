"""`tocsin audit-log`, and what commands enter there by themselves."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import audit_log as command
from app.cli import build, entering
from app.cli.run_by import run_by
from app.store.publisher import KafkaPublisher, PublishError
from schemas.audit_log import read_audit_entry
from schemas.topics import AUDIT_LOG

RUNNER = CliRunner()
ENTRY = {"at": "2026-11-29T10:00:00.000Z", "key_id": "ops", "from": "::1", "action": "policy.put", "what": "policy"}


class Gateway:
    """Answers with one entry a page, for ever."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str | None]] = []

    def call(self, method: str, path: str, *, query: dict[str, str | None]) -> Any:
        assert (method, path) == ("GET", "/v1/audit-log")
        self.asked.append(query)
        return {"entries": [ENTRY], "next_cursor": str(len(self.asked))}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    found = Gateway()
    monkeypatch.setattr(command, "connect", lambda _: found)
    return found


def test_pages_are_read_until_there_are_so_many_entries(gateway: Gateway) -> None:
    answer = RUNNER.invoke(build(["audit-log"]), ["audit-log", "--limit", "3", "--action", "policy", "--json"])

    assert answer.exit_code == 0
    assert json.loads(answer.stdout) == [ENTRY] * 3
    assert [query["cursor"] for query in gateway.asked] == [None, "1", "2"]
    assert {query["action"] for query in gateway.asked} == {"policy"}
    assert "more entries" in answer.stderr


def test_a_key_made_or_revoked_is_entered_with_who_ran_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, bytes]] = []

    async def nothing(_: KafkaPublisher) -> None: ...

    async def publish(_: KafkaPublisher, topic: str, key: bytes | None, value: bytes) -> tuple[int, int]:
        sent.append((topic, value))
        return 0, 0

    for name, stands_in in (("start", nothing), ("close", nothing), ("publish", publish)):
        monkeypatch.setattr(KafkaPublisher, name, stands_in)
    path = tmp_path / "tocsin.toml"
    path.write_text("")
    monkeypatch.setenv("TOCSIN_CONFIG", str(path))
    made = RUNNER.invoke(build(["keys"]), ["keys", "create", "shop", "--scope", "send"])
    path.write_text(made.stdout)
    revoked = RUNNER.invoke(build(["keys"]), ["keys", "revoke", "shop"])

    assert (made.exit_code, revoked.exit_code) == (0, 0)
    entries = [read_audit_entry(value) for topic, value in sent if topic == AUDIT_LOG]
    assert [(e.action, e.key_id, e.from_) for e in entries] == [
        ("key.create", None, run_by()),
        ("key.revoke", None, run_by()),
    ]
    secret = made.stderr.splitlines()[0]
    assert secret not in repr(entries)
    assert "Not in the audit log" not in made.stderr + revoked.stderr


def test_without_kafka_it_is_said_that_there_is_no_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: KafkaPublisher) -> None:
        raise PublishError("no brokers")

    monkeypatch.setattr(KafkaPublisher, "start", broken)

    assert entering.enter_in_audit_log("key.revoke", "shop") == "no brokers"


@pytest.mark.parametrize(
    ("user", "host", "shown"),
    [
        ("ada", "laptop.local", "ada@laptop.local"),
        ("ada b\n", "h\u00f6st", "ada-b-@h-st"),
        ("u" * 90, "h", "u" * 50 + "@h"),
    ],
)
def test_who_runs_a_command_is_said_in_plain_characters(
    user: str, host: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: user)
    monkeypatch.setattr("socket.gethostname", lambda: host)

    assert run_by() == shown
