"""The doctor names what is wrong, and what isn't used."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import build
from app.cli.doctor import providers
from app.config import Settings
from app.dev.ports import free_port
from app.providers.registry import CLIENTS

#: The least settings of each provider.
SETTINGS = {
    "apns": {"key_file": "/dev/null", "key_id": "k", "team_id": "t", "topic": "com.example"},
    "fcm": {"service_account_file": "/dev/null"},
    "webpush": {"vapid_private_key": "k", "subject": "mailto:ops@example.com"},
    "ses": {"region": "x", "from": "shop@example.com"},
    "sendgrid": {"api_key": "k", "from": "shop@example.com"},
    "twilio": {"account_sid": "AC1", "auth_token": "t", "from": "+442071838750"},
    "vonage": {"api_key": "k", "api_secret": "s", "from": "Shop"},
    "sns": {"region": "x"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_provider_that_has_settings_is_used_only_if_it_has_a_client(name: str) -> None:
    settings = Settings.load({f"TOCSIN_PROVIDERS__{name.upper()}": json.dumps(SETTINGS[name])})
    findings = {finding.check.removeprefix("provider "): finding for finding in providers(settings)}
    mine = findings.pop(name)

    assert mine.ok is (name in CLIENTS)
    assert mine.found == ("configured" if name in CLIENTS else "has settings, but this version can't use it")
    assert bool(mine.remedy) is not mine.ok
    assert {other.found for other in findings.values()} == {"not used"}


def test_a_provider_without_settings_is_not_used_and_not_wrong() -> None:
    findings = {finding.check: finding for finding in providers(Settings.load({}))}

    assert (findings["provider apns"].ok, findings["provider apns"].found) == (None, "not used")
    assert len(findings) == 8


def test_a_file_that_a_provider_needs_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    settings = Settings.load({"TOCSIN_PROVIDERS__FCM__SERVICE_ACCOUNT_FILE": str(path)})

    [before] = [finding for finding in providers(settings) if finding.check == "provider fcm"]
    path.write_text("{}")
    [after] = [finding for finding in providers(settings) if finding.check == "provider fcm"]

    assert (before.ok, after.ok) == (False, True)
    assert str(path) in before.found


def test_what_does_not_answer_is_wrong_and_has_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOCSIN_KAFKA__BOOTSTRAP", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("TOCSIN_DATA__DIR", str(tmp_path))
    gone = tmp_path / "router-1" / "operations.json"
    gone.parent.mkdir()
    gone.write_text(json.dumps({"url": f"http://127.0.0.1:{free_port()}", "pid": 1}))

    answer = CliRunner().invoke(build(["doctor"]), ["doctor", "--json"])
    findings = {finding["check"]: finding for finding in json.loads(answer.stdout)}

    assert answer.exit_code == 1
    assert {name for name, finding in findings.items() if finding["ok"] is False} == {"kafka", "clickhouse", "router-1"}
    assert all(finding["remedy"] for finding in findings.values() if finding["ok"] is False)


def test_wrong_settings_are_the_only_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOCSIN_GATEWAY__PORT", "many")

    answer = CliRunner().invoke(build(["doctor"]), ["doctor"])

    assert answer.exit_code == 1
    assert "gateway.port" in answer.stdout
