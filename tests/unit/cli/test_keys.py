"""A key is shown once, its hash goes into the settings, and revoking it touches nothing else."""

import hashlib
import json
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from app.cli.keys import app
from app.cli.output import Refused
from app.cli.settings import environment
from app.config import Settings
from app.dev.configuration import kept_secrets, write_settings
from tests.certificates import Authority

RUNNER = CliRunner()
BROKEN = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"

SETTINGS = """\
# who may call us
[gateway]
port = 8081  # behind the proxy
"""


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "tocsin.toml"
    path.write_text(SETTINGS)
    monkeypatch.setenv("TOCSIN_CONFIG", str(path))
    return path


def create(settings_file: Path, key_id: str, *options: str) -> str:
    """Makes a key, pastes its entry as we are told to, and returns the whole key."""
    answer = RUNNER.invoke(app, ["create", key_id, *options])
    assert answer.exit_code == 0
    settings_file.write_text(settings_file.read_text() + answer.stdout)
    return answer.stderr.splitlines()[0]


def listed() -> list[str]:
    return [row["id"] for row in json.loads(RUNNER.invoke(app, ["list", "--json"]).stdout)]


def test_a_created_key_works_once_its_entry_is_pasted(settings_file: Path) -> None:
    key = create(settings_file, "shop", "--source", "shop", "--scope", "send", "--scope", "read")

    [entry] = Settings.load(environment()).auth.api_keys
    assert key.startswith("shop.")
    assert entry.sha256 == hashlib.sha256(key.encode()).hexdigest()
    assert (entry.source, entry.scopes) == ("shop", ("send", "read"))
    assert key not in settings_file.read_text()


def test_revoking_takes_out_one_key_and_leaves_the_rest_as_it_was(settings_file: Path) -> None:
    create(settings_file, "shop", "--scope", "send")
    with_shop = settings_file.read_text()
    create(settings_file, "blog", "--scope", "read")

    answer = RUNNER.invoke(app, ["revoke", "blog"])

    assert answer.exit_code == 0
    assert settings_file.read_text() == with_shop
    assert listed() == ["shop"]


def test_a_key_of_the_development_system_is_revoked_too(settings_file: Path) -> None:
    written = write_settings(settings_file.parent, "127.0.0.1:1", 1, {}, kept_secrets(settings_file.parent))

    answer = RUNNER.invoke(app, ["revoke", "demo"])

    assert written == settings_file
    assert answer.exit_code == 0
    assert listed() == ["admin"]


def test_an_unknown_key_is_not_revoked(settings_file: Path) -> None:
    assert isinstance(RUNNER.invoke(app, ["revoke", "nobody"]).exception, Refused)
    assert settings_file.read_text() == SETTINGS


def test_an_entry_in_another_form_is_left_to_its_author(settings_file: Path) -> None:
    entry = f'{{id = "shop", sha256 = "{"0" * 64}", scopes = ["send"]}}'
    text = SETTINGS + f"[auth]\napi_keys = [{entry}]\n"
    settings_file.write_text(text)

    answer = RUNNER.invoke(app, ["revoke", "shop"])

    assert "take it out by hand" in str(answer.exception)
    assert settings_file.read_text() == text


@pytest.mark.parametrize("arguments", [["sh op", "--scope", "send"], ["shop", "--scope", "everything"]])
def test_a_bad_id_or_scope_is_refused(settings_file: Path, arguments: list[str]) -> None:
    answer = RUNNER.invoke(app, ["create", *arguments])

    assert isinstance(answer.exception, Refused)
    assert answer.stdout == ""


def test_a_key_can_be_bound_to_the_names_that_a_certificate_is_shown_with(settings_file: Path, tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("shop", x509.DNSName("shop.internal"))
    shown = RUNNER.invoke(app, ["certificate", str(files[0])])
    assert shown.exit_code == 0
    names = shown.stdout.split()
    assert names[0] == "dns:shop.internal"
    assert names[1].startswith("spki:")
    with settings_file.open("a") as file:
        file.write(f'cert_file = "{files[0]}"\nkey_file = "{files[1]}"\nclient_ca_file = "{tmp_path / "ca.pem"}"\n')

    create(settings_file, "shop", "--scope", "send", *(f"--certificate={name}" for name in names))

    [entry] = Settings.load(environment()).auth.api_keys
    assert entry.certificates == tuple(names)


@pytest.mark.parametrize("content", ["", "no certificate", "-----BEGIN CERTIFICATE-----", BROKEN])
def test_a_file_without_a_certificate_is_refused_by_its_name(tmp_path: Path, content: str) -> None:
    file = tmp_path / "shop.pem"
    file.write_text(content)

    answer = RUNNER.invoke(app, ["certificate", str(file)])

    assert isinstance(answer.exception, Refused)
    assert str(answer.exception).startswith(f"{file} is no certificate")
