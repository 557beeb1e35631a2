"""Commands talk to the system that TOCSIN_CONFIG names, else to the one that runs here."""

from pathlib import Path

import msgspec
import pytest

from app.cli.output import Refused
from app.cli.settings import load_settings, settings_file
from app.dev.state import FOLDER, State, sole_system, write_state

STATE = State(
    pid=1,
    config_file="",
    environment={},
    gateway_url="",
    kafka_bootstrap="",
    sandbox_url="",
    api_keys={},
    jwt_secret="",
    processes={},
)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOCSIN_CONFIG", raising=False)


def settings_with_port(path: Path, port: int) -> Path:
    path.write_text(f"[gateway]\nport = {port}\n")
    return path


def test_the_running_system_is_found(tmp_path: Path) -> None:
    config_file = settings_with_port(tmp_path / "dev.toml", 8123)
    with sole_system(FOLDER):
        write_state(FOLDER, msgspec.structs.replace(STATE, config_file=str(config_file)))

        assert load_settings().gateway.port == 8123
        assert settings_file() == config_file


def test_what_tocsin_config_names_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config_file = settings_with_port(tmp_path / "dev.toml", 8123)
    monkeypatch.setenv("TOCSIN_CONFIG", str(settings_with_port(tmp_path / "own.toml", 8124)))
    with sole_system(FOLDER):
        write_state(FOLDER, msgspec.structs.replace(STATE, config_file=str(config_file)))

        assert load_settings().gateway.port == 8124


def test_without_either_the_defaults_hold_and_there_is_no_file() -> None:
    assert load_settings().gateway.port == 8080
    with pytest.raises(Refused, match="set TOCSIN_CONFIG to one, or start `tocsin dev`"):
        settings_file()
