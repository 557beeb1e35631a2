"""The doctor names what is wrong, and what isn't used."""

import base64
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from app.cli import build
from app.cli.doctor import links, providers, webhooks
from app.cli.doctor_reads import announcements, asked, pauses, port
from app.config import Operations, Settings
from app.dev.ports import free_port
from app.operations import OperationsServer, ServedState
from app.ports import NotOwned
from app.providers.registry import CLIENTS
from app.sandbox.certificates import Authority
from app.store.announced import REFUSALS, Refusal
from app.store.owner_client import StateReader
from app.store.owners import Owner
from schemas.providers import ProviderPause

#: The least settings of each provider.
SETTINGS = {
    "apns": {"key_file": "/dev/null", "key_id": "k", "team_id": "t", "topic": "com.example"},
    "fcm": {"service_account_file": "/dev/null"},
    "webpush": {"vapid_private_key": "AQ" + "A" * 41, "subject": "mailto:ops@example.com"},
    "ses": {"region": "x", "from": "shop@example.com"},
    "sendgrid": {"api_key": "k", "from": "shop@example.com"},
    "twilio": {"account_sid": "AC1", "auth_token": "t", "from": "+442071838750"},
    "vonage": {"api_key": "k", "api_secret": "s", "from": "Shop"},
    "sns": {"region": "x"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_provider_that_has_settings_is_used(name: str) -> None:
    settings = Settings.load({f"TOCSIN_PROVIDERS__{name.upper()}": json.dumps(SETTINGS[name])})
    findings = {finding.check.removeprefix("provider "): finding for finding in providers(settings)}
    mine = findings.pop(name)

    assert (mine.ok, mine.found, name in CLIENTS) == (True, "configured", True)
    assert {other.found for other in findings.values()} == {"not used"}


def test_a_vapid_key_that_is_none_is_found_without_being_shown() -> None:
    part = {**SETTINGS["webpush"], "vapid_private_key": "not-a-key"}
    [finding] = [f for f in providers(Settings.load({"TOCSIN_PROVIDERS__WEBPUSH": json.dumps(part)})) if f.ok is False]

    assert finding.check == "provider webpush"
    assert "vapid_private_key" in finding.found
    assert "not-a-key" not in finding.found


#: With which a vendor's reports are verified.
REPORTING: dict[str, dict[str, Any]] = {
    "ses": {"providers.ses.configuration_set": "c", "providers.ses.webhook_topic_arns": ["arn:aws:sns:x:1:t"]},
    "sendgrid": {
        "providers.sendgrid.webhook_public_key": base64.b64encode(
            ec.generate_private_key(ec.SECP256R1())
            .public_key()
            .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).decode()
    },
    "vonage": {"providers.vonage.signature_secret": "s" * 32},
    "twilio": {"gateway.public_url": "https://notify.example"},
}


@pytest.mark.parametrize(("vendor", "left_out"), [(v, key) for v, keys in REPORTING.items() for key in (None, *keys)])
def test_a_webhook_without_its_settings_is_named_with_them(vendor: str, left_out: str | None) -> None:
    environ: dict[str, Any] = {f"TOCSIN_PROVIDERS__{vendor.upper()}": dict(SETTINGS[vendor])}
    for key, value in REPORTING[vendor].items():
        section, _, name = key.rpartition(".")
        if key != left_out and section == "gateway":
            environ["TOCSIN_GATEWAY__PUBLIC_URL"] = value
        elif key != left_out:
            environ[f"TOCSIN_PROVIDERS__{vendor.upper()}"][name] = value
    given = {name: value if isinstance(value, str) else json.dumps(value) for name, value in environ.items()}

    [finding] = webhooks(Settings.load(given))
    assert (finding.check, finding.ok) == (f"webhook {vendor}", True if left_out is None else None)
    assert (left_out or "") in finding.found


def test_only_providers_that_are_used_and_report_have_a_webhook() -> None:
    assert webhooks(Settings.load({"TOCSIN_PROVIDERS__SNS": json.dumps(SETTINGS["sns"])})) == []


def test_a_provider_without_settings_is_not_used_and_not_wrong() -> None:
    findings = {finding.check: finding for finding in providers(Settings.load({}))}

    assert (findings["provider apns"].ok, findings["provider apns"].found) == (None, "not used")
    assert len(findings) == 8


MAIL = {"TOCSIN_PROVIDERS__SES": json.dumps(SETTINGS["ses"])}
KEY = "k" * 32


@pytest.mark.parametrize(
    ("given", "ok", "found"),
    [
        ({}, None, "gateway.public_url and gateway.signing_keys not set"),
        (MAIL, False, "gateway.public_url and gateway.signing_keys not set"),
        ({**MAIL, "TOCSIN_GATEWAY__PUBLIC_URL": "https://n.example"}, False, "gateway.signing_keys not set"),
        ({**MAIL, "TOCSIN_GATEWAY__SIGNING_KEYS": json.dumps([KEY])}, False, "gateway.public_url not set"),
    ],
)
def test_mail_that_could_not_be_unsubscribed_from_is_wrong(given: dict[str, str], ok: bool | None, found: str) -> None:
    finding = links(Settings.load(given))

    assert (finding.ok, finding.found.partition(":")[0]) == (ok, found)
    assert finding.remedy


@pytest.mark.parametrize(("keys", "ok"), [([KEY], True), ([KEY, "short"], False)])
def test_keys_of_links_must_be_long(keys: list[str], ok: bool) -> None:
    given = {"TOCSIN_GATEWAY__PUBLIC_URL": "https://n.example", "TOCSIN_GATEWAY__SIGNING_KEYS": json.dumps(keys)}
    finding = links(Settings.load(given))

    assert finding.ok is ok
    assert not any(key in finding.found for key in (KEY, 'short"'))


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


@pytest.mark.parametrize(
    ("operations", "ok", "found"),
    [
        ({}, True, "serves this machine only"),
        ({"host": "10.0.0.7"}, None, "plain HTTP at 10.0.0.7: reads of users can be listened to"),
        ({"host": "0.0.0.0"}, None, "announced as 0.0.0.0"),
        ({"host": "0.0.0.0", "advertised_host": "router-1"}, None, "plain HTTP at 0.0.0.0: reads of users"),
        (
            {"cert_file": "/nowhere", "key_file": "/nowhere"},
            False,
            "operations.cert_file, operations.key_file: can't be",
        ),
        ({"ca_file": "/nowhere"}, False, "operations.ca_file: can't be read"),
    ],
)
def test_an_operations_port_that_others_can_listen_to_is_named(
    operations: dict[str, str], ok: bool | None, found: str
) -> None:
    finding = port(Operations.model_validate(operations))

    assert (finding.ok, finding.found[: len(found)]) == (ok, found)
    assert bool(finding.remedy) is (ok is not True)


def test_a_port_with_a_certificate_is_right(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pem = tmp_path / "server.pem"

    finding = port(Operations(host="10.0.0.7", cert_file=pem, key_file=pem, ca_file=authority.ca_file))

    assert (finding.ok, finding.found) == (True, "serves TLS as 10.0.0.7")


@pytest.mark.parametrize("why", REFUSALS)
def test_announcements_that_do_not_count_are_named_with_a_remedy(why: Refusal) -> None:
    [finding] = announcements({why: 3})

    assert (finding.ok, finding.found[:20]) == (False, "3 in tocsin_owners: ")
    assert finding.remedy
    assert announcements({}) == []


def test_every_pause_is_named_with_its_age_its_reason_and_its_remedy() -> None:
    pause = ProviderPause(provider="fcm", paused=True, at=9, since=0, why="maintenance", by="ops")
    [finding] = pauses([pause], 90_060_000)

    assert (finding.check, finding.ok) == ("pause of fcm", None)
    assert "1 d 1 h" in finding.found
    assert finding.found.endswith("by ops: maintenance")
    assert "tocsin provider resume fcm" in finding.remedy
    assert pauses([], 0) == []


class _Nobody:
    """State of which nobody owns anything."""

    async def read(self, partition: int, *_: Any) -> Any:
        raise NotOwned(str(partition))


@pytest.mark.parametrize(("secret", "ok"), [(b"s" * 32, True), (b"o" * 32, False)])
async def test_each_worker_is_asked_with_this_machines_secret(tmp_path: Path, secret: bytes, ok: bool) -> None:
    def clock() -> int:
        return 1_780_000_000_000

    state = ServedState(_Nobody(), secret, clock)
    server = OperationsServer(role="router", problem=lambda: None, registry=CollectorRegistry(), state=state)
    await server.start(Operations(), tmp_path)
    owner = Owner(role="router", instance="1", partitions=[0], url=server.url, policy_version=1, at=clock())
    async with aiohttp.ClientSession() as session:
        [finding] = await asked(StateReader(session, b"s" * 32, clock), [owner])
    await server.stop()

    assert (finding.check, finding.ok) == ("reads of router/1", ok)
    assert ("same installation.secret" in finding.remedy) is not ok
